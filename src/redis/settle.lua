-- Part of take.lua and take_all.lua, after clock.lua: the state of one bucket by now, Layout::settle of src/state, in doubles.
--
-- KEYS[1]  the bucket; absent while it is full
-- ARGV[1]  see clock.lua
-- ARGV[2]  the number of tokens; 0 only reads the state
-- ARGV[3]  a random number: the bucket's incarnation, if it is created now
-- ARGV[4]  see clock.lua
--
-- Every number that is compared or stored is an integer below 2^53, or such an integer times a power of two, so doubles are
-- exact. A bucket is 20 bytes: 6 for the incarnation, 7 for the units spent, 7 for the stamp. A paused one has 7 more.

local incarnation, spent, stamp, rebased = tonumber(ARGV[3]), 0, now, 0

local function write()
  store(struct.pack('>I6I7I7', incarnation, spent, stamp), ms_until_full(spent, stamp))
end

-- Settles the bucket. If the clock is behind the stamp, but not far, decides as of the stamp.
local held = redis.call('GET', KEYS[1])
if held then
  incarnation, spent, stamp = struct.unpack('>I6I7I7', held)
  local ends = paused_until(held)
  if ends then
    spent, stamp = capacity, ends
  elseif is_ahead(stamp) then
    incarnation, stamp, rebased = tonumber(ARGV[3]), now, 1
    write()
  end
  local elapsed = max(0, now - stamp)
  if window == 0 then
    spent = max(0, spent - elapsed * units_per_tick)
    stamp = stamp + elapsed
  elseif spent == 0 or elapsed >= window then
    spent = 0
    stamp = stamp + elapsed
  end
end

local cost = ARGV[2] * unit
