-- Notices what somebody else has taken away: XTRIM, XADD MAXLEN or XDEL in our streams. Nothing here costs anything
-- while nobody does.
--
-- Of each level, `meta` counts what we trimmed (t), what was handed out (r), what was found missing (g), and how much
-- of that nobody had read (m). A stream counts by itself how many entries were ever added (a, at the last look).

-- A message that was noticed while a consumer had it is in `gone` until it is settled, and not counted twice.
local function note_lost(k, token)
  if redis.call('SREM', k.gone, token) == 0 then redis.call('HINCRBY', k.meta, 'lost', 1) end
  redis.call('HDEL', k.fate, token)
  forget_marks(k, token)
end

-- What waits for another attempt and has nothing behind it any more is taken out of every list.
local function drop_waiting(k, level, entry)
  local token = level .. '/' .. entry
  redis.call('XACK', k.q .. level, k.group, entry)
  redis.call('ZREM', k.due, 'r' .. token)
  redis.call('ZREM', k.ready, token)
  redis.call('ZREM', k.suspect, token)
end

local function missing_pending(k, level, group)
  local stream, count, from = k.q .. level, 0, '-'
  if group.pending == 0 then return 0 end
  for _ = 1, 10 do
    local rows = redis.call('XPENDING', stream, k.group, from, '+', CHUNK)
    for _, row in ipairs(rows) do
      if #redis.call('XRANGE', stream, row[1], row[1]) == 0 then
        local token = level .. '/' .. row[1]
        count = count + redis.call('SADD', k.gone, token)
        if row[2] == '~' then
          drop_waiting(k, level, row[1])
          redis.call('SREM', k.gone, token)
          redis.call('HDEL', k.fate, token)
        end
      end
    end
    if #rows < CHUNK then break end
    from = '(' .. rows[#rows][1]
  end
  return count
end

local function present_unread(stream, info, last)
  local first = info['first-entry']
  if not first then return 0 end
  if is_before(last, first[1]) then return info.length end
  return unread(stream, { ['last-delivered-id'] = last, lag = false })
end

-- Returns how many of a level were lost since the last look, and how many are gone.
local function look_for_losses(k, level)
  local stream = k.q .. level
  local flat = redis.pcall('XINFO', 'STREAM', stream)
  if flat.err then return 0, 0 end
  local info = pairs_of(flat)
  local t, r, g, m, a = 't' .. level, k.taken .. level, 'g' .. level, 'm' .. level, 'a' .. level
  local known = redis.call('HMGET', k.meta, t, r, g, m, a)
  local seen = tonumber(known[3] or 0)
  local added, before = info['entries-added'], tonumber(known[5] or 0)
  local gone = added - info.length - (known[1] or 0)
  if added ~= before then redis.call('HSET', k.meta, a, added) end
  if gone == seen and added >= before then return 0, 0 end
  local group = groups_of(stream)[k.group]
  local last = group and group['last-delivered-id'] or '0-0'
  local present = present_unread(stream, info, last)
  if gone < seen or added < before or (not known[2] and last ~= '0-0') then
    -- The stream was made anew, or read by a release that did not count: begin to count here.
    redis.call('HSET', k.meta, t, added - info.length, r, added - present, g, 0, m, 0)
    return 0, 0
  end
  local missing = math.max(0, added - (known[2] or 0) - present)
  redis.call('HSET', k.meta, g, gone, m, missing)
  local lost = math.max(0, missing - (known[4] or 0)) + (group and missing_pending(k, level, group) or 0)
  return lost, gone - seen
end

local function forget_settled_losses(k)
  for _, token in ipairs(redis.call('SMEMBERS', k.gone)) do
    local level, entry = split(token)
    if #redis.call('XPENDING', k.q .. level, k.group, entry, entry, 1) == 0
      and not redis.call('ZSCORE', k.due, 'r' .. token) and not redis.call('ZSCORE', k.ready, token)
      and not redis.call('ZSCORE', k.suspect, token) then
      redis.call('SREM', k.gone, token)
    end
  end
end
