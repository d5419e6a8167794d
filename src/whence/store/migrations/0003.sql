-- The first tables of version 3 had no registered_at.
ALTER TABLE registration ADD COLUMN registered_at REAL;
UPDATE registration SET registered_at = since WHERE state = 'registered';
