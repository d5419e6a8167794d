-- MySQL dump 10.19  Distrib 10.11, for debian-linux-gnu (x86_64)
/*!40101 SET NAMES utf8mb4 */;
DROP TABLE IF EXISTS `uacreg`;
CREATE TABLE `uacreg` (
  `id` int(10) unsigned NOT NULL AUTO_INCREMENT,
  `l_uuid` varchar(64) NOT NULL DEFAULT '',
  `l_username` varchar(64) NOT NULL DEFAULT '',
  `l_domain` varchar(64) NOT NULL DEFAULT '',
  `r_username` varchar(64) NOT NULL DEFAULT '',
  `r_domain` varchar(64) NOT NULL DEFAULT '',
  `realm` varchar(64) NOT NULL DEFAULT '',
  `auth_username` varchar(64) NOT NULL DEFAULT '',
  `auth_password` varchar(64) NOT NULL DEFAULT '',
  `auth_ha1` varchar(128) NOT NULL DEFAULT '',
  `auth_proxy` varchar(255) NOT NULL DEFAULT '',
  `expires` int(11) NOT NULL DEFAULT 0,
  `flags` int(11) NOT NULL DEFAULT 0,
  `reg_delay` int(11) NOT NULL DEFAULT 0,
  `contact_addr` varchar(255) NOT NULL DEFAULT '',
  `socket` varchar(128) NOT NULL DEFAULT '',
  PRIMARY KEY (`id`),
  UNIQUE KEY `l_uuid_idx` (`l_uuid`)
) ENGINE=InnoDB;
INSERT INTO `uacreg` VALUES
(1,'acme','alice','edge.example.net','acct1','provider.example','','auth1','pass\'w"o\\rd;--','','sip:proxy.example:5080;lr',600,16,5,'203.0.113.7:5060','udp:192.0.2.1:5060'),
(2,'acme sales','bob','edge.example.net','acct2','provider.example','provider.example','acct2','','0123456789ABCDEF0123456789abcdef','',0,1,0,'',''),
(3,'old','carol','edge.example.net','acct3','old.example','.','acct3','secret''3','.','sip:old.example;transport=tls',99999999,0,0,'','eth0'),
(4,'short','x'),
(5,'now','dave','edge.example.net','acct5','provider.example','','acct5',CONCAT('a','b'),'','',0,0,0,'','');
INSERT INTO `version` VALUES ('uacreg',5);
