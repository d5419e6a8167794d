-- Reasons and failures get the codes that the API uses for them.
UPDATE registration SET failure = 'rejected' WHERE failure = 'refused';
UPDATE registration SET reason = replace(reason, '_not_believed', '_not_accepted')
WHERE reason IN ('answer_not_believed', 'tls_answer_not_believed', 'certificate_not_believed');
UPDATE event SET reason = replace(reason, '_not_believed', '_not_accepted')
WHERE reason IN ('answer_not_believed', 'tls_answer_not_believed', 'certificate_not_believed');
