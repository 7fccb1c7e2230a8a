-- write: KEYS = hash of one kind. ARGV = name, expected version or "", ttl in ms or "", JSON or "" to delete.
-- A field holds "version:deadline:JSON". Returns the new version, or -1 when another version is there.
local function write(keys, args)
  local now = now_ms()
  local version, deadline = string.match(redis.call('HGET', keys[1], args[1]) or '0::', '^(%d+):(%d*):')
  if deadline ~= '' and tonumber(deadline) <= now then version = '0' end
  if args[2] ~= '' and args[2] ~= version then return -1 end
  -- Versions count on from the server's clock, so that an entry deleted and made again is not taken for the old one.
  local new = math.max(tonumber(version) + 1, now)
  if args[4] == '' then
    redis.call('HDEL', keys[1], args[1])
  else
    local ends = args[3] ~= '' and string.format('%.0f', now + args[3]) or ''
    redis.call('HSET', keys[1], args[1], string.format('%.0f', new) .. ':' .. ends .. ':' .. args[4])
  end
  return new
end

-- read: KEYS = hash of one kind. Returns name, version, JSON of every live entry.
local function read(keys)
  local now, rows = now_ms(), {}
  local flat = redis.call('HGETALL', keys[1])
  for i = 1, #flat, 2 do
    local version, deadline, json = string.match(flat[i + 1], '^(%d+):(%d*):(.*)$')
    if deadline == '' or tonumber(deadline) > now then
      rows[#rows + 1] = flat[i]
      rows[#rows + 1] = version
      rows[#rows + 1] = json
    end
  end
  return rows
end
