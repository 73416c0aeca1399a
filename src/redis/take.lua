-- Takes tokens from one bucket, or none: Layout::settle and Layout::take of src/state, in doubles.
--
-- KEYS[1]  the bucket; there is none while it is full
-- ARGV[1]  what the quota means in units and ticks: see terms.rs
-- ARGV[2]  how many tokens; 0 only looks
-- ARGV[3]  a random number that names the bucket's life, should it begin now
-- ARGV[4]  for tests: microseconds since the epoch, in place of the server's clock
--
-- Answers with 1 or 0 (taken or not), the time in microseconds, the units spent, the stamp, the life.
--
-- All that is compared or kept is an integer below 2^53, or such a one times a power of two, so that doubles are exact. A
-- bucket is 20 bytes: the life in 6, the units spent in 7, the stamp in 7.

local EPOCH = 1735689600 -- seconds: the first of January 2025, UTC
local END = 1073741824000000 -- microseconds: 2^30 seconds later time stands still
local BASE = 33554432 -- 2^25
local LONGEST = 1073741824000 -- milliseconds: what is full later than the end of time is kept until then
local floor = math.floor

local unit, capacity, window, units_per_tick, tick_ms, last_tick, m0, m1, m2, m3, m4, m5, m6 =
  struct.unpack('<ddddddddddddd', ARGV[1])

local micros
if ARGV[4] then
  micros = tonumber(ARGV[4])
else
  local time = redis.call('TIME')
  micros = math.max(0, (time[1] - EPOCH) * 1000000 + time[2])
end

-- The floor of micros * m, where m is ticks in a microsecond, in digits of 25 bits, six of them behind the point: a column of
-- the product is below 2^52. What is behind the horizon is at the horizon.
local now = last_tick
if micros < END then
  local high = floor(micros / BASE)
  local low = micros - high * BASE
  local carry = floor(low * m0 / BASE)
  carry = floor((low * m1 + high * m0 + carry) / BASE)
  carry = floor((low * m2 + high * m1 + carry) / BASE)
  carry = floor((low * m3 + high * m2 + carry) / BASE)
  carry = floor((low * m4 + high * m3 + carry) / BASE)
  carry = floor((low * m5 + high * m4 + carry) / BASE)
  now = low * m6 + high * m5 + carry + high * m6 * BASE
end

-- What the bucket has become by now. A clock that is behind the stamp has stepped back: decide as of the stamp.
local held = redis.call('GET', KEYS[1])
local life, spent, stamp
if held then
  life, spent, stamp = struct.unpack('>I6I7I7', held)
  local elapsed = math.max(0, now - stamp)
  if window == 0 then
    spent = math.max(0, spent - elapsed * units_per_tick)
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
local ms = ARGV[4] and LONGEST or math.min(LONGEST, math.ceil(ticks * tick_ms * 1.000000001) + 1)
redis.call('SET', KEYS[1], struct.pack('>I6I7I7', life, spent, stamp), 'PX', ms)
return { 1, micros, spent, stamp, life }
