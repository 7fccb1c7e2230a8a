-- look: as receive, and takes nothing. Returns epoch, "waiting", "0", then how many are suspect, and how many wait at
-- each level, the lowest first; or, as receive does, "idle" or "late".

local function at_level(k, level, most)
  local stream = k.q .. level
  local low, high = (5 - level) * 1e13, (6 - level) * 1e13 - 1
  local again = redis.call('ZCOUNT', k.ready, string.format('%.0f', low), string.format('%.0f', high))
  return again + unread(stream, groups_of(stream)[k.group], most)
end

local function look(keys, args)
  local k, limit = names(keys[1], args[1]), tonumber(args[4])
  -- All upkeep, and nothing is handed out: no room for anything, and too busy for what would have to run alone.
  local out = receive(keys, { args[1], args[2], args[3], '0', '0', '1', args[7] })
  if out[2] == 'late' then return out end
  if out[2] == 'drain' then return { out[1], 'waiting', '0', 1, 0, 0, 0, 0, 0 } end
  if limit == 0 then return out end
  local found, sum = { out[1], 'waiting', '0', 0 }, 0
  for level = 1, 5 do
    found[4 + level] = at_level(k, level, limit)
    sum = sum + found[4 + level]
  end
  return sum > 0 and found or out
end

-- What readers call: a pool's members take turns.
local function receive_any(keys, args)
  if is_pool(keys) then return in_turn(keys, args, receive) end
  return receive(keys, args)
end

local function look_any(keys, args)
  if is_pool(keys) then return in_turn(keys, args, look) end
  return look(keys, args)
end
