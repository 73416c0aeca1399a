-- Finds out whether a key could be written, and changes nothing: setting no expiry for what has none, and writing nothing at the
-- beginning of a string, are refused by a replica, and the latter by a server that is out of memory, as any write is. Else both
-- leave the key, or its absence, as it was.
--
-- KEYS[1]  a bucket, or the settings, which are no string

if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  return redis.call('PERSIST', KEYS[1])
end
return redis.call('SETRANGE', KEYS[1], 0, '')
