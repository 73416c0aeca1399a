-- Finds out whether a bucket could be written, and changes nothing: writing nothing at the beginning of a string is refused by
-- a replica and by a server that is out of memory, as any write is, and else leaves the string, or its absence, as it was.
--
-- KEYS[1]  the bucket

return redis.call('SETRANGE', KEYS[1], 0, '')
