-- Takes tokens from one bucket, or none: Layout::settle and Layout::take of src/state, in doubles.
--
-- KEYS[1]  the bucket; there is none while it is full
-- ARGV[1]  see clock.lua, which stands in front of this
-- ARGV[2]  how many tokens; 0 only looks
-- ARGV[3]  a random number that names the bucket's life, should it begin now
-- ARGV[4]  see clock.lua
--
-- Answers with 1 or 0 (taken or not), the time in microseconds, the units spent, the stamp, the life.
--
-- All that is compared or kept is an integer below 2^53, or such a one times a power of two, so that doubles are exact. A
-- bucket is 20 bytes: the life in 6, the units spent in 7, the stamp in 7.

-- What the bucket has become by now. A clock that is behind the stamp has stepped back: decide as of the stamp.
local held = redis.call('GET', KEYS[1])
local life, spent, stamp
if held then
  life, spent, stamp = struct.unpack('>I6I7I7', held)
  local elapsed = max(0, now - stamp)
  if window == 0 then
    spent = max(0, spent - elapsed * units_per_tick)
    stamp = stamp + elapsed
  elseif spent == 0 or elapsed >= window then
    spent = 0
    stamp = stamp + elapsed
  end
else
  life, spent, stamp = tonumber(ARGV[3]), 0, now
end

local cost = ARGV[2] * unit
if cost == 0 or spent + cost > capacity then
  return { 0, micros, spent, stamp, life }
end
spent = spent + cost

-- Kept until it is full by this clock, and a little longer, since the length of a tick is rounded. What goes by another clock
-- than the server's is kept.
local ticks = stamp - now
if window == 0 then
  ticks = ticks + math.ceil(spent / units_per_tick)
else
  ticks = ticks + window
end
local ms = manual and LONGEST or min(LONGEST, math.ceil(ticks * tick_ms * 1.000000001) + 1)
redis.call('SET', KEYS[1], struct.pack('>I6I7I7', life, spent, stamp), 'PX', ms)
return { 1, micros, spent, stamp, life }
