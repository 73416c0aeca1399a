-- What the server keeps for one key whose tokens are leased: Ledger of ledger.rs, in doubles.
--
-- KEYS[1]  the bucket; there is none while it is full and nothing is out on lease
-- ARGV[1]  see clock.lua, which stands in front of this
-- ARGV[2]  what to do, one of the words below
-- ARGV[3]  a random number that names the bucket's life, should it begin now
-- ARGV[4]  see clock.lua
-- ARGV[5..]  with what:
--   ask     node, seq, known, kept, back, need, want, the most that may be out, the lifetime of a lease in microseconds
--   take    how many tokens, one by one
--   refund  the life of the bucket that decided, the stamp that the decision left, the units that it charged
--   reset   the lifetime of a lease in microseconds: the bucket is full, and what is out on lease stays out
--
-- Answers with 1 or 0 (ask: not older than one answered; take: taken; refund: something was given back; reset: always), the time in microseconds,
-- the units spent, the stamp, the life; and to ask, what was granted and what is kept.
--
-- Everything here is an integer below 2^53, so that doubles are exact. A bucket is 20 bytes, as in take.lua, and 43 for every lease:
-- node, seq, tokens, fresh, owed, fresh owed, expiry.

local MOST_LEASES = 32
local HEAD, LEASE, LEASE_BYTES = '>I6I7I7', '>I7I7I4I4I7I7I7', 43

local life, spent, stamp, leases = tonumber(ARGV[3]), 0, now, {}
local held = redis.call('GET', KEYS[1])
if held then
  life, spent, stamp = struct.unpack(HEAD, held)
  for at = 21, #held, LEASE_BYTES do
    local node, seq, tokens, fresh, owed, fresh_owed, expiry = struct.unpack(LEASE, held, at)
    leases[#leases + 1] =
      { node = node, seq = seq, tokens = tokens, fresh = fresh, owed = owed, fresh_owed = fresh_owed, expiry = expiry }
  end
end

local function live(lease)
  return micros < lease.expiry
end

-- The units spent by now, and the stamp of that.
local function settled()
  local elapsed = max(0, now - stamp)
  if window == 0 then
    return max(0, spent - elapsed * units_per_tick), stamp + elapsed
  elseif spent == 0 or elapsed >= window then
    return 0, stamp + elapsed
  end
  return spent, stamp
end

local function charge(units)
  spent, stamp = settled()
  for _, lease in ipairs(leases) do
    lease.owed, lease.fresh_owed = min(lease.owed, spent), min(lease.fresh_owed, spent)
  end
  spent = spent + units
end

-- Units of a charge since which at least so many were lent out.
local function come_back(units, least)
  local function left(owed)
    return min(owed, max(0, max(owed, least) - units))
  end
  spent = max(0, spent - units)
  for _, lease in ipairs(leases) do
    lease.owed, lease.fresh_owed = left(lease.owed), left(lease.fresh_owed)
  end
end

-- Kept until it is full, and as long as somebody may hand something back.
local function write(lifetime)
  local ticks = stamp - now
  if window == 0 then
    ticks = ticks + math.ceil(spent / units_per_tick)
  elseif spent > 0 then
    ticks = ticks + window
  end
  local ms = math.ceil(ticks * tick_ms * 1.000000001) + 1
  local parts = { struct.pack(HEAD, life, spent, stamp) }
  for index, lease in ipairs(leases) do
    parts[index + 1] = struct.pack(LEASE, lease.node, lease.seq, lease.tokens, lease.fresh, lease.owed, lease.fresh_owed, lease.expiry)
    ms = max(ms, math.ceil((lease.expiry + lifetime - micros) / 1000) + 1)
  end
  ms = manual and LONGEST or min(LONGEST, max(1, ms))
  redis.call('SET', KEYS[1], table.concat(parts), 'PX', ms)
end

local verb = ARGV[2]
if verb == 'take' then
  local cost = ARGV[5] * unit
  local found, at = settled()
  if cost == 0 or found + cost > capacity then
    return { 0, micros, found, at, life }
  end
  charge(cost)
  write(0)
  return { 1, micros, spent, stamp, life }
elseif verb == 'refund' then
  local sold, charged = tonumber(ARGV[6]), tonumber(ARGV[7])
  local back = 0
  if held and life == tonumber(ARGV[5]) and stamp >= sold then
    if window == 0 then
      back = charged - (stamp - sold) * units_per_tick
    elseif stamp == sold then
      back = charged
    end
  end
  if back <= 0 then
    return { 0, micros, spent, stamp, life }
  end
  come_back(min(back, spent), 0)
  write(0)
  return { 1, micros, spent, stamp, life }
elseif verb == 'reset' then
  if #leases == 0 then
    redis.call('DEL', KEYS[1])
    return { 1, micros, 0, now, life }
  end
  -- Another life, so that no decision of before gives anything back.
  life, spent, stamp = tonumber(ARGV[3]), 0, max(now, min(stamp + 1, last_tick))
  for _, lease in ipairs(leases) do
    lease.owed, lease.fresh_owed = 0, 0
  end
  write(tonumber(ARGV[5]))
  return { 1, micros, spent, stamp, life }
end

local node, seq, known, kept, back, need, want, most, lifetime = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]),
  tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])

local own
for index, lease in ipairs(leases) do
  if lease.node == node then
    own = index
  end
end

local holds = 0
if own then
  local lease = leases[own]
  if seq == lease.seq then
    return { 1, micros, spent, stamp, life, lease.fresh, lease.tokens - lease.fresh }
  elseif seq < lease.seq then
    return { 0, micros, spent, stamp, life, 0, 0 }
  end
  -- An answer that had not arrived when this was sent is not used any more.
  local abandoned = known == lease.seq and 0 or lease.fresh
  local left = lease.tokens - abandoned
  if live(lease) and kept <= left then
    holds = kept
  end
  -- What was taken last comes back first.
  local unspent = abandoned + min(back, max(0, left - kept))
  local fresh = min(unspent, lease.fresh)
  lease.fresh = lease.fresh - fresh
  come_back(min(fresh * unit, lease.fresh_owed), lease.fresh_owed)
  come_back(min((unspent - fresh) * unit, lease.owed), lease.owed)
  if holds <= lease.fresh then
    lease.owed = lease.fresh_owed
  else
    lease.owed = min(lease.fresh_owed, max(lease.owed, lease.fresh * unit))
  end
end

-- Half of what there is stays for others, unless somebody is waiting for it.
local out = holds
for index, lease in ipairs(leases) do
  if index ~= own and live(lease) then
    out = out + lease.tokens
  end
end
local spare = min(max(0, most - out), floor((capacity - settled()) / unit))
local missing = max(0, need - holds)
local granted = min(max(want, missing), max(missing, math.ceil(spare / 2)))
if granted > spare then
  granted = 0
end
if granted > 0 and not own and #leases >= MOST_LEASES then
  local ended
  for index = #leases, 1, -1 do
    if not live(leases[index]) then
      ended = index
    end
  end
  if ended then
    table.remove(leases, ended)
  else
    granted = 0
  end
end
if granted > 0 then
  charge(granted * unit)
end
if own or granted > 0 then
  for _, lease in ipairs(leases) do
    if not live(lease) then
      lease.expiry = 0
    end
  end
  local owed = own and table.remove(leases, own).owed or 0
  leases[#leases + 1] =
    { node = node, seq = seq, tokens = holds + granted, fresh = granted, owed = owed, fresh_owed = spent, expiry = micros + lifetime }
  write(lifetime)
end
return { 1, micros, spent, stamp, life, granted, holds }
