-- A registration keeps the counts of its nonces, and when its credentials were rejected.
ALTER TABLE registration ADD COLUMN nonces TEXT NOT NULL DEFAULT '';
ALTER TABLE registration ADD COLUMN auth_rejections TEXT NOT NULL DEFAULT '';
