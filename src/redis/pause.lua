-- Pauses one bucket: nothing is taken from it before the end of the pause, and it is empty then.
--
-- KEYS[1]  the bucket
-- ARGV[1]  see clock.lua, the prelude of this script
-- ARGV[2]  the length of the pause in microseconds
-- ARGV[3]  a random number: the bucket's incarnation
-- ARGV[4]  see clock.lua
--
-- Returns the tick at which the pause ends.

return pause(redis.call('GET', KEYS[1]), tonumber(ARGV[2]), tonumber(ARGV[3]))
