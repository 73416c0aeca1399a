-- End of the function `look` of take_all.lua.

return {
  refuses = cost > 0 and spent + cost > capacity,
  take = function()
    if cost > 0 then
      spent = spent + cost
      write()
    end
  end,
  state = function()
    return { micros, spent, stamp, incarnation, rebased }
  end,
}
