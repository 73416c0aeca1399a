-- Changes the shared settings of all instances, and publishes the new version.
--
-- KEYS[1]  the settings, a hash: "version"; "default", the quota; "since", the version that introduced the default; "start", 1
--          while the default is the start quota of an instance; and per rule a field "rule:" .. key, with the version that
--          introduced the rule, a space, and the quota
-- ARGV[1]  the channel on which versions are published
-- ARGV[2]  the version that the caller knows
-- ARGV[3]  the operation: start, replace, rule, unrule or restore
-- ARGV[4]  and following: its arguments
--
-- Returns the resulting version; for unrule, 0 if there was no such rule.
--
-- A version is the time of the change in microseconds, or the previous version plus one if that is greater. So a change after a
-- loss of data is newer than any version that an instance still knows from before.

local EPOCH = 1735689600
local settings, channel, known, verb = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local stored = tonumber(redis.call('HGET', settings, 'version') or '0')

local function publish(version)
  local text = string.format('%.0f', version)
  redis.call('HSET', settings, 'version', text)
  redis.call('PUBLISH', channel, text)
  return text
end

local function newer()
  local time = redis.call('TIME')
  local micros = (time[1] - EPOCH) * 1000000 + time[2]
  return math.max(micros, stored + 1, known + 1)
end

local function set_default(quota, start)
  local version = newer()
  redis.call('HSET', settings, 'default', quota, 'since', string.format('%.0f', version), 'start', start)
  return publish(version)
end

if verb == 'start' then
  -- A quota set by replace stays. Among start quotas, the last one wins.
  local same = redis.call('HGET', settings, 'default') == ARGV[4]
  if stored > 0 and (same or redis.call('HGET', settings, 'start') ~= '1') then
    return stored
  end
  return tonumber(set_default(ARGV[4], '1'))
elseif verb == 'replace' then
  return tonumber(set_default(ARGV[4], '0'))
elseif verb == 'rule' then
  local version = newer()
  redis.call('HSET', settings, 'rule:' .. ARGV[4], string.format('%.0f', version) .. ' ' .. ARGV[5])
  return tonumber(publish(version))
elseif verb == 'unrule' then
  if redis.call('HDEL', settings, 'rule:' .. ARGV[4]) == 0 then
    return 0
  end
  return tonumber(publish(newer()))
elseif verb == 'restore' then
  -- After a loss of data, every instance offers its settings, and the newest version wins.
  if stored < known then
    redis.call('DEL', settings)
    for field = 4, #ARGV, 2 do
      redis.call('HSET', settings, ARGV[field], ARGV[field + 1])
    end
    return tonumber(publish(known))
  end
  return stored
end
return redis.error_reply('ERR no such change: ' .. verb)
