-- Where goes what is sent to a temporary inbox, "agent~token": into it while it is open, and to its agent afterwards.
-- It is open from `open` until `drop`, also while its reader gives no sign of life.

local function is_temporary(meta)
  return string.find(meta, '~', 1, true) and not string.find(meta, '~shadow}', 1, true)
end

local function is_open(k)
  return redis.call('EXISTS', k.lease) == 1
end

-- KEYS and the name of the inbox as for `publish`. Returns the names of keys, and whose they are.
local function addressed(keys, inbox)
  local k = names(keys[1], 'main')
  if not keys[3] or is_open(k) then return k, inbox end
  return names(keys[3], 'main'), string.match(keys[3], '{(.*)}')
end

-- KEYS as for `settle`. Returns the names of keys of the inbox that a reply goes to.
local function replied_to(keys, at)
  local k = names(keys[at], 'main')
  if not is_temporary(k.meta) or is_open(k) then return k end
  return names(keys[at + 1], 'main')
end
