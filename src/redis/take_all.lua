-- Takes tokens from several buckets, or from none. Each key occurs once. The function `look(KEYS, ARGV)` before this text, made
-- of clock.lua and settle.lua, settles one bucket.
--
-- KEYS  the buckets
-- ARGV  for each bucket the first three arguments of settle.lua, the tokens to take, which are at most the second of them,
--       and at the end the fourth argument of settle.lua
--
-- Returns 1 or 0 (taken or not), and for each bucket 1 or 0 (refuses or not) and what take.lua returns after its first number.

local manual = ARGV[#ARGV]
local parts, taken = {}, 1
for i = 1, #KEYS do
  local part = look({ KEYS[i] }, { ARGV[4 * i - 3], ARGV[4 * i - 2], ARGV[4 * i - 1], manual })
  parts[i] = part
  if part.refuses then
    taken = 0
  end
end
local reply = { taken }
for i, part in ipairs(parts) do
  if taken == 1 then
    part.take(tonumber(ARGV[4 * i]))
  end
  reply[#reply + 1] = part.refuses and 1 or 0
  for _, number in ipairs(part.state()) do
    reply[#reply + 1] = number
  end
end
return reply
