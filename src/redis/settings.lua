-- Changes the shared settings of all instances, and publishes the new version.
--
-- KEYS[1]  the settings, a hash: "version"; "default", the quota; "since", the version that introduced the default; "start", 1
--          while the default is the start quota of an instance; and per rule a field "rule:" .. key, with the version that
--          introduced the rule, a space, and the quota
-- ARGV[1]  the channel on which versions are published
-- ARGV[2]  the version that the caller knows
-- ARGV[3]  the operation: start, replace, reset, rule, unrule or restore
-- ARGV[4]  and following: its arguments
--
-- Returns the resulting version; for unrule, 0 if there was no such rule. A version introduces a quota with full buckets, so replace
-- and rule keep the version of a quota that is already in force, and reset, which replaces as well, does not.
--
-- A version is the time of the change in microseconds, or the previous version plus one if that is greater. So a change after a
-- loss of data is newer than any version that an instance still knows from before.

local EPOCH = 1735689600
local settings, channel, known, verb = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local stored = tonumber(redis.call('HGET', settings, 'version') or '0')

local function newer()
  local time = redis.call('TIME')
  local micros = (time[1] - EPOCH) * 1000000 + time[2]
  return math.max(micros, stored + 1, known + 1)
end

-- Publishes a version and writes it with other fields. A script that fails halfway keeps what it has written, for example if the
-- user lacks a permission. So the message comes first, and there is one write. Subscribers read the settings after the script.
local function write(version, ...)
  local text = string.format('%.0f', version)
  redis.call('PUBLISH', channel, text)
  redis.call('HSET', settings, 'version', text, ...)
  return version
end

local function set_default(quota, start)
  local version = newer()
  return write(version, 'default', quota, 'since', string.format('%.0f', version), 'start', start)
end

local function has_default(quota)
  return redis.call('HGET', settings, 'default') == quota
end

if verb == 'start' then
  -- A quota set by replace stays. Among start quotas, the last one wins.
  local same = has_default(ARGV[4])
  if stored > 0 and (same or redis.call('HGET', settings, 'start') ~= '1') then
    return stored
  end
  return set_default(ARGV[4], '1')
elseif verb == 'replace' then
  if not has_default(ARGV[4]) then
    return set_default(ARGV[4], '0')
  end
  if redis.call('HGET', settings, 'start') == '0' then
    return stored
  end
  return write(newer(), 'start', '0')
elseif verb == 'reset' then
  return set_default(ARGV[4], '0')
elseif verb == 'rule' then
  local rule = redis.call('HGET', settings, 'rule:' .. ARGV[4])
  if rule and string.match(rule, '^%d+ (.*)$') == ARGV[5] then
    return stored
  end
  local version = newer()
  return write(version, 'rule:' .. ARGV[4], string.format('%.0f', version) .. ' ' .. ARGV[5])
elseif verb == 'unrule' then
  local rule = 'rule:' .. ARGV[4]
  if not redis.call('HGET', settings, rule) then
    return 0
  end
  redis.call('HDEL', settings, '') -- There is no such field: this only checks the permission.
  local version = write(newer())
  redis.call('HDEL', settings, rule)
  return version
elseif verb == 'restore' then
  -- After a loss of data, every instance offers its settings, and the newest version wins.
  if stored < known then
    if stored > 0 then
      redis.call('HSET', settings, 'version', string.format('%.0f', stored)) -- The same: this only checks the permission.
    end
    redis.call('PUBLISH', channel, string.format('%.0f', known))
    redis.call('DEL', settings)
    redis.call('HSET', settings, 'version', string.format('%.0f', known))
    for field = 4, #ARGV, 2 do
      redis.call('HSET', settings, ARGV[field], ARGV[field + 1])
    end
    return known
  end
  return stored
end
return redis.error_reply('ERR no such change: ' .. verb)
