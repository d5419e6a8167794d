CREATE TABLE registrant (
    id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL,
    registrar CHAR(255) DEFAULT '' NOT NULL,
    proxy CHAR(255) DEFAULT NULL,
    aor CHAR(255) DEFAULT '' NOT NULL,
    third_party_registrant CHAR(255) DEFAULT NULL,
    username CHAR(64) DEFAULT NULL,
    password CHAR(64) DEFAULT NULL,
    binding_URI CHAR(255) DEFAULT '' NOT NULL,
    binding_params CHAR(64) DEFAULT NULL,
    expiry INT(1) UNSIGNED DEFAULT NULL,
    forced_socket CHAR(64) DEFAULT NULL,
    cluster_shtag CHAR(64) DEFAULT NULL,
    state INT UNSIGNED DEFAULT 0 NOT NULL,
    CONSTRAINT registrant_idx UNIQUE (aor, binding_URI, registrar)
) ENGINE=InnoDB;
INSERT INTO registrant (registrar, aor, username, password, binding_URI, expiry, state, proxy) VALUES ('sip:reg.example:5070;transport=tcp', 'sip:acct1@provider.example', 'auth1', 'secret1', 'sip:acct1@192.0.2.1', 1800, 0, NULL), ('sip:provider.example', 'sip:acct2@provider.example', 'acct2', 'secret2', 'sip:acct2@192.0.2.1', NULL, 1, 'sip:proxy.example;lr');
INSERT INTO registrant VALUES (3,'sip:provider.example',NULL,'tel:+442071234567','sip:other@provider.example','acct3','secret3','sip:acct3@192.0.2.1',';q=1',NULL,'wss:192.0.2.1:443','tag/1',0);
