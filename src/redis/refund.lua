-- Undoes one decision: Layout::refund of src/state, for a bucket without waiters.
--
-- KEYS[1]  the bucket
-- ARGV[1]  the quota in units and ticks: see script_quota.rs
-- ARGV[2]  the incarnation of the bucket that decided
-- ARGV[3]  the stamp that the decision left
-- ARGV[4]  the units that it charged
--
-- Returns 1 if units were given back, and 0 otherwise.
--
-- A full bucket is deleted, and the next bucket with its name is another incarnation. So a decision from before a reset, a flush
-- or a loss of data finds no bucket to give units back to.

local held = redis.call('GET', KEYS[1])
if not held then
  return 0
end
local incarnation, spent, stamp = struct.unpack('>I6I7I7', held)
local charged_stamp, charged = tonumber(ARGV[3]), tonumber(ARGV[4])
if incarnation ~= tonumber(ARGV[2]) or stamp < charged_stamp then
  return 0
end

local _, _, window, units_per_tick = struct.unpack('<dddd', ARGV[1])
local back
if window == 0 then
  back = charged - (stamp - charged_stamp) * units_per_tick
elseif stamp == charged_stamp then
  back = charged
else
  back = 0
end
if back <= 0 then
  return 0
end
redis.call('SET', KEYS[1], struct.pack('>I6I7I7', incarnation, math.max(0, spent - back), stamp), 'KEEPTTL')
return 1
