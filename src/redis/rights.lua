-- Checks that the user may run every command of a limiter, and changes nothing. SUBSCRIBE is not among them: it cannot run in a
-- script, and a limiter without it learns of changes by polling.
--
-- KEYS[1]  a key that does not exist outside of this script
-- ARGV[1]  the channel on which versions of the settings are published
--
-- A script that fails halfway keeps what it has written. So the commands that cannot leave anything behind come first.

local key = KEYS[1]
redis.call('DEL', key)
redis.call('TIME')
redis.call('TYPE', key)
redis.call('GET', key)
redis.call('SETRANGE', key, 0, '')
redis.call('PERSIST', key)
redis.call('HGET', key, 'version')
redis.call('HGETALL', key)
redis.call('HDEL', key, 'version')
-- An empty message makes the other instances compare the version of their settings, and nothing else.
redis.call('PUBLISH', ARGV[1], '')
redis.call('SET', key, '', 'PX', 1000)
redis.call('DEL', key)
redis.call('HSET', key, 'version', '')
return redis.call('DEL', key)
