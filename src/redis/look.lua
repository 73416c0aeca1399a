-- End of the function `look` of take_all.lua.

return {
  refuses = cost > 0 and spent + cost > capacity,
  take = function(tokens)
    if tokens > 0 then
      spent = spent + tokens * unit
      write()
    end
  end,
  state = function()
    return { micros, spent, stamp, incarnation, rebased }
  end,
}
