-- write: KEYS = hash of one kind, and the counter of its changes where they are counted.
-- ARGV = name, expected version or "", ttl in ms or "", JSON or "" to delete.
-- A field holds "version:deadline:JSON". Returns the new version, or -1 when another version is there.

local ENTRY = '^(%d+):(%d*):(.*)$'

local function is_over(deadline, now)
  return deadline ~= '' and tonumber(deadline) <= now
end

-- What is over is passed over by readers; so that it does not pile up, every write looks at a few others.
local function drop_some(keys, now)
  local flat, dropped = redis.call('HRANDFIELD', keys[1], 3, 'WITHVALUES'), 0
  for i = 1, #flat, 2 do
    if is_over(select(2, string.match(flat[i + 1], ENTRY)) or '', now) then
      dropped = dropped + redis.call('HDEL', keys[1], flat[i])
    end
  end
  return dropped > 0
end

local function write(keys, args)
  local now = now_ms()
  local kept = redis.call('HGET', keys[1], args[1])
  local version, deadline, json = string.match(kept or '0::', ENTRY)
  if is_over(deadline, now) then version, json = '0', '' end
  if args[2] ~= '' and args[2] ~= version then return -1 end
  -- Versions count on from the server's clock, so that an entry deleted and made again is not taken for the old one.
  local new = math.max(tonumber(version) + 1, now)
  if args[4] == '' then
    redis.call('HDEL', keys[1], args[1])
  else
    local ends = args[3] ~= '' and string.format('%.0f', now + args[3]) or ''
    redis.call('HSET', keys[1], args[1], string.format('%.0f', new) .. ':' .. ends .. ':' .. args[4])
  end
  local dropped = drop_some(keys, now)
  if keys[2] and (dropped or json ~= args[4] or (kept and json == '')) then redis.call('INCR', keys[2]) end
  return new
end

-- read: KEYS = hash of one kind. Returns name, version, JSON of every live entry.
local function read(keys)
  local now, rows = now_ms(), {}
  local flat = redis.call('HGETALL', keys[1])
  for i = 1, #flat, 2 do
    local version, deadline, json = string.match(flat[i + 1], ENTRY)
    if not is_over(deadline, now) then
      rows[#rows + 1] = flat[i]
      rows[#rows + 1] = version
      rows[#rows + 1] = json
    end
  end
  return rows
end
