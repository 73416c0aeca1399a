-- Prelude of take.lua, pause.lua and lease.lua: unpacks the quota and reads the clock.
--
-- ARGV[1]  the quota in units and ticks: see script_quota.rs
-- ARGV[4]  in tests: microseconds since the epoch, in place of the server's clock; otherwise empty or absent

local EPOCH = 1735689600 -- seconds: 1 January 2025, UTC
local END = 1073741824000000 -- microseconds: the horizon, 2^30 seconds after the epoch, where time stands still
local BASE = 33554432 -- 2^25
local LONGEST = 1073741824000 -- milliseconds: the longest expiry; a bucket that is full only after the horizon is kept until then
local floor, min, max = math.floor, math.min, math.max

local unit, capacity, window, units_per_tick, tick_ms, last_tick, tolerance, m0, m1, m2, m3, m4, m5, m6 =
  struct.unpack('<dddddddddddddd', ARGV[1])

local manual = tonumber(ARGV[4])
local micros = manual
if not micros then
  local time = redis.call('TIME')
  micros = max(0, (time[1] - EPOCH) * 1000000 + time[2])
end

-- The floor of micros * m, where m is the ticks per microsecond, in digits of 25 bits, six of them fractional: each column of
-- the product is below 2^52. Times after the horizon count as the horizon.
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

-- Returns whether a stamp is so far ahead that the clock has stepped back, and the bucket has to be rebased: its stamp becomes
-- now, and what was spent stays. Otherwise it would be empty until the clock has caught up. It also becomes another incarnation,
-- because the refill since an earlier decision is unknown. A step back costs at most one capacity: what the clock counts twice.
local function is_ahead(stamp)
  return stamp - now > tolerance
end

-- Returns the milliseconds until a bucket is full by this clock, plus a margin for the rounded length of a tick.
local function ms_until_full(spent, stamp)
  local ticks = stamp - now
  if window == 0 then
    ticks = ticks + math.ceil(spent / units_per_tick)
  elseif spent > 0 then
    ticks = ticks + window
  end
  return math.ceil(ticks * tick_ms * 1.000000001) + 1
end

-- Stores a bucket for so many milliseconds. With a manual clock it is kept.
local function store(value, ms)
  ms = manual and LONGEST or min(LONGEST, max(1, ms))
  redis.call('SET', KEYS[1], value, 'PX', ms)
end

-- A paused bucket has a field more, the end of the pause, and no leases. Until then it is empty, whatever the clock does: only
-- a stamp is rebased.
local PAUSED, PAUSED_BYTES = '>I6I7I7I7', 27

-- Returns the end of the pause of a stored bucket, or nil.
local function paused_until(stored)
  if stored and #stored == PAUSED_BYTES then
    return (struct.unpack('>I7', stored, 21))
  end
end

-- Pauses a bucket for so many microseconds, unless it is paused for longer. It is empty at the end. Another incarnation: earlier
-- decisions give nothing back. Returns the end of the pause.
local function pause(stored, micros_paused, incarnation)
  local earlier = paused_until(stored) or 0
  local ticks = math.ceil(micros_paused / 1000 / tick_ms * 1.000000001)
  local ends = min(last_tick, now + ticks)
  if ends <= max(now, earlier) then
    return max(now, earlier)
  end
  store(struct.pack(PAUSED, incarnation, capacity, now, ends), ms_until_full(capacity, ends))
  return ends
end
