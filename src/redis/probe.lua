-- Checks that a key is writable, and changes nothing. It removes the expiry of a hash that has none, or writes zero bytes at the
-- start of a string. A replica rejects both, and a server that is out of memory rejects the latter, as it rejects any such write.
-- Otherwise both leave the key, or its absence, unchanged.
--
-- KEYS[1]  a bucket (a string, or absent), or the settings (a hash)

if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  return redis.call('PERSIST', KEYS[1])
end
return redis.call('SETRANGE', KEYS[1], 0, '')
