-- Bucket of one key and the leases granted from it. reference/leased_bucket.rs is the same in Rust,
-- and explains the rules.
--
-- KEYS[1]  the bucket; absent while it is full and no tokens are on lease
-- ARGV[1]  see clock.lua, which precedes this script
-- ARGV[2]  the command, see below
-- ARGV[3]  random number: the incarnation of the bucket if this call creates it
-- ARGV[4]  see clock.lua
-- ARGV[5..]  the arguments of the command:
--   ask     holder, seq, acked, kept, returned, need, want, maximum number of leased tokens,
--           lifetime of a lease in microseconds
--   take    number of tokens to take from the bucket itself
--   refund  incarnation of the bucket that decided, stamp after the decision, units charged
--   reset   lifetime of a lease in microseconds: fills the bucket; tokens on lease stay out
--   pause   length of the pause in microseconds: ends all leases, and empties the bucket until then
--
-- Returns 1 or 0 (ask: the request is not older than one that was answered; take: the tokens were
-- taken; refund: units were credited; reset and pause: always 1), the time in microseconds, the units spent,
-- the stamp, the incarnation, 1 or 0 (rebased or not, see clock.lua); for ask also the tokens granted
-- and kept.
--
-- All numbers are integers below 2^53, so that doubles are exact. A bucket has 20 bytes, as in
-- take.lua, and 43 bytes per lease: holder, seq, tokens, unacked, refundable, unacked refundable,
-- expiry.

local MAX_LEASES = 32
local HEAD, LEASE, LEASE_BYTES = '>I6I7I7', '>I7I7I4I4I7I7I7', 43

local incarnation, spent, stamp, leases, rebased = tonumber(ARGV[3]), 0, now, {}, 0
local stored = redis.call('GET', KEYS[1])
if stored then
  incarnation, spent, stamp = struct.unpack(HEAD, stored)
  for at = 21, paused_until(stored) and 0 or #stored, LEASE_BYTES do
    local holder, seq, tokens, unacked, refundable, unacked_refundable, expiry =
      struct.unpack(LEASE, stored, at)
    leases[#leases + 1] = {
      holder = holder,
      seq = seq,
      tokens = tokens,
      unacked = unacked,
      refundable = refundable,
      unacked_refundable = unacked_refundable,
      expiry = expiry,
    }
  end
end

local function live(lease)
  return micros < lease.expiry
end

-- Returns the units spent as of now, and their stamp.
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
    lease.refundable = min(lease.refundable, spent)
    lease.unacked_refundable = min(lease.unacked_refundable, spent)
  end
  spent = spent + units
end

-- Credits units of a charge since which at least `least` units were spent.
local function credit(units, least)
  local function capped(refundable)
    return min(refundable, max(0, max(refundable, least) - units))
  end
  spent = max(0, spent - units)
  for _, lease in ipairs(leases) do
    lease.refundable = capped(lease.refundable)
    lease.unacked_refundable = capped(lease.unacked_refundable)
  end
end

-- Stores the bucket until it is full, and for as long as tokens may be returned.
local function write(lifetime)
  local ms = ms_until_full(spent, stamp)
  local parts = { struct.pack(HEAD, incarnation, spent, stamp) }
  for index, lease in ipairs(leases) do
    parts[index + 1] = struct.pack(
      LEASE,
      lease.holder,
      lease.seq,
      lease.tokens,
      lease.unacked,
      lease.refundable,
      lease.unacked_refundable,
      lease.expiry
    )
    ms = max(ms, math.ceil((lease.expiry + lifetime - micros) / 1000) + 1)
  end
  store(table.concat(parts), ms)
end

local ends = paused_until(stored)
if ends then
  spent, stamp = capacity, ends
elseif is_ahead(stamp) then
  incarnation, stamp, rebased = tonumber(ARGV[3]), now, 1
  write(0)
end

local command = ARGV[2]
if command == 'pause' then
  ends = pause(stored, tonumber(ARGV[5]), tonumber(ARGV[3]))
  return { 1, micros, capacity, ends, tonumber(ARGV[3]), rebased }
elseif command == 'take' then
  local cost = ARGV[5] * unit
  local found, at = settled()
  if cost == 0 or found + cost > capacity then
    return { 0, micros, found, at, incarnation, rebased }
  end
  charge(cost)
  write(0)
  return { 1, micros, spent, stamp, incarnation, rebased }
elseif command == 'refund' then
  local sold, charged = tonumber(ARGV[6]), tonumber(ARGV[7])
  local credited_units = 0
  if stored and incarnation == tonumber(ARGV[5]) and stamp >= sold then
    if window == 0 then
      credited_units = charged - (stamp - sold) * units_per_tick
    elseif stamp == sold then
      credited_units = charged
    end
  end
  if credited_units <= 0 then
    return { 0, micros, spent, stamp, incarnation, rebased }
  end
  credit(min(credited_units, spent), 0)
  write(0)
  return { 1, micros, spent, stamp, incarnation, rebased }
elseif command == 'reset' then
  if #leases == 0 then
    redis.call('DEL', KEYS[1])
    return { 1, micros, 0, now, incarnation, rebased }
  end
  -- A new incarnation, so that earlier decisions are not refunded.
  incarnation, spent, stamp = tonumber(ARGV[3]), 0, max(now, min(stamp + 1, last_tick))
  for _, lease in ipairs(leases) do
    lease.refundable, lease.unacked_refundable = 0, 0
  end
  write(tonumber(ARGV[5]))
  return { 1, micros, spent, stamp, incarnation, rebased }
end

local holder, seq, acked = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local kept, returned = tonumber(ARGV[8]), tonumber(ARGV[9])
local need, want = tonumber(ARGV[10]), tonumber(ARGV[11])
local max_leased, lifetime = tonumber(ARGV[12]), tonumber(ARGV[13])

-- A lease that ends later than a lease from now is from before a step back of the clock.
local own, shortened
for index, lease in ipairs(leases) do
  if lease.holder == holder then
    own = index
  end
  if lease.expiry > micros + lifetime then
    lease.expiry, shortened = micros + lifetime, true
  end
end
if shortened then
  write(lifetime)
end

local kept_now = 0
if own then
  local lease = leases[own]
  if seq == lease.seq then
    return { 1, micros, spent, stamp, incarnation, rebased, lease.unacked, lease.tokens - lease.unacked }
  elseif seq < lease.seq then
    return { 0, micros, spent, stamp, incarnation, rebased, 0, 0 }
  end
  -- A reply that had not arrived when this request was sent is never used.
  local abandoned = acked == lease.seq and 0 or lease.unacked
  local held_tokens = lease.tokens - abandoned
  if live(lease) and kept <= held_tokens then
    kept_now = kept
  end
  -- The tokens taken last are credited first.
  local unspent = abandoned + min(returned, max(0, held_tokens - kept))
  local unacked = min(unspent, lease.unacked)
  lease.unacked = lease.unacked - unacked
  credit(min(unacked * unit, lease.unacked_refundable), lease.unacked_refundable)
  credit(min((unspent - unacked) * unit, lease.refundable), lease.refundable)
  if kept_now <= lease.unacked then
    lease.refundable = lease.unacked_refundable
  else
    lease.refundable = min(lease.unacked_refundable, max(lease.refundable, lease.unacked * unit))
  end
end

-- Half of the spare tokens stay for other holders, unless callers are waiting for them.
local leased = kept_now
for index, lease in ipairs(leases) do
  if index ~= own and live(lease) then
    leased = leased + lease.tokens
  end
end
local spare = min(max(0, max_leased - leased), floor((capacity - settled()) / unit))
local missing = max(0, need - kept_now)
local granted = min(max(want, missing), max(missing, math.ceil(spare / 2)))
if granted > spare then
  granted = 0
end
if granted > 0 and not own and #leases >= MAX_LEASES then
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
  local refundable = own and table.remove(leases, own).refundable or 0
  leases[#leases + 1] = {
    holder = holder,
    seq = seq,
    tokens = kept_now + granted,
    unacked = granted,
    refundable = refundable,
    unacked_refundable = spent,
    expiry = micros + lifetime,
  }
  write(lifetime)
end
return { 1, micros, spent, stamp, incarnation, rebased, granted, kept_now }
