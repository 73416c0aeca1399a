-- Takes tokens from one bucket, or none: Layout::take of src/state. Keys and arguments as in settle.lua.
--
-- Returns 1 or 0 (taken or not), the time in microseconds, the units spent, the stamp, the incarnation, 1 or 0 (rebased or not).

if cost == 0 or spent + cost > capacity then
  return { 0, micros, spent, stamp, incarnation, rebased }
end
spent = spent + cost
write()
return { 1, micros, spent, stamp, incarnation, rebased }
