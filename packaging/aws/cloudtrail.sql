-- CloudTrail in Athena: what nodes do with their credentials. The session of a node's role is named after the node, and
-- so is that of a [[role]] without a session_name of its own. Replace cloudtrail_logs by the table that the CloudTrail
-- console creates ("Create Athena table"), and the node id in the first query.

-- 1. Every call of one node in the last day, under any of its roles.
SELECT eventtime, eventsource, eventname, sourceipaddress, errorcode, useridentity.arn
FROM cloudtrail_logs
WHERE useridentity.type = 'AssumedRole'
  AND useridentity.principalid LIKE '%:mi-0123456789abcdef0'
  AND from_iso8601_timestamp(eventtime) > now() - interval '1' day
ORDER BY eventtime;

-- 2. When each node was last seen, those that were seen least lately first. `silent` nodes have not called AWS for three
--    days: they are dead, or run nothing that calls AWS. Compare with `aws ssm describe-instance-information` before you
--    deregister any. A node that has called nothing for 90 days is not in the list.
SELECT split_part(useridentity.principalid, ':', 2) AS node_id,
       max(eventtime) AS last_call,
       max(from_iso8601_timestamp(eventtime)) < now() - interval '3' day AS silent
FROM cloudtrail_logs
WHERE useridentity.type = 'AssumedRole'
  AND useridentity.principalid LIKE '%:mi-%'
  AND from_iso8601_timestamp(eventtime) > now() - interval '90' day
GROUP BY 1
ORDER BY 2;

-- 3. One node from several addresses within an hour: credentials that were copied, or a clone.
SELECT split_part(useridentity.principalid, ':', 2) AS node_id,
       date_trunc('hour', from_iso8601_timestamp(eventtime)) AS within,
       array_agg(DISTINCT sourceipaddress) AS addresses
FROM cloudtrail_logs
WHERE useridentity.type = 'AssumedRole'
  AND useridentity.principalid LIKE '%:mi-%'
  AND sourceipaddress NOT LIKE '%.amazonaws.com'
GROUP BY 1, 2
HAVING count(DISTINCT sourceipaddress) > 1
ORDER BY 2 DESC;

-- 4. Calls that the deny of addresses outside our networks refused.
SELECT eventtime, split_part(useridentity.principalid, ':', 2) AS node_id, sourceipaddress, eventsource, eventname
FROM cloudtrail_logs
WHERE errorcode IS NOT NULL
  AND errormessage LIKE '%explicit deny%'
  AND useridentity.principalid LIKE '%:mi-%'
ORDER BY eventtime DESC;

-- 5. Who created activations, registered, and deregistered nodes.
SELECT eventtime, eventname, useridentity.arn, sourceipaddress, requestparameters
FROM cloudtrail_logs
WHERE eventsource = 'ssm.amazonaws.com'
  AND eventname IN ('CreateActivation', 'DeleteActivation', 'RegisterManagedInstance', 'DeregisterManagedInstance')
ORDER BY eventtime DESC;
