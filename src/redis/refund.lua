-- Undoes one decision: Layout::refund of src/state, for a bucket where nobody waits.
--
-- KEYS[1]  the bucket
-- ARGV[1]  what the quota means in units and ticks: see terms.rs
-- ARGV[2]  the life of the bucket that decided
-- ARGV[3]  the stamp that the decision left
-- ARGV[4]  the units that it charged
--
-- Answers with 1 when something was given back, and else with 0.
--
-- A bucket that is full is forgotten, and the next one under its name has another life. So a decision from before a reset,
-- a flush or a loss of data finds nothing that it could give back to.

local held = redis.call('GET', KEYS[1])
if not held then
  return 0
end
local life, spent, stamp = struct.unpack('>I6I7I7', held)
local sold, charged = tonumber(ARGV[3]), tonumber(ARGV[4])
if life ~= tonumber(ARGV[2]) or stamp < sold then
  return 0
end

local _, _, window, units_per_tick = struct.unpack('<dddd', ARGV[1])
local back
if window == 0 then
  back = charged - (stamp - sold) * units_per_tick
elseif stamp == sold then
  back = charged
else
  back = 0
end
if back <= 0 then
  return 0
end
redis.call('SET', KEYS[1], struct.pack('>I6I7I7', life, math.max(0, spent - back), stamp), 'KEEPTTL')
return 1
