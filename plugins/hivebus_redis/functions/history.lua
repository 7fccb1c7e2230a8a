-- history: KEYS = meta. ARGV = group, level, first and last entry as XRANGE takes them, how many to look at.
-- Returns the last entry that was looked at or "", then what was accepted and neither given up nor taken back.
local function history(keys, args)
  local k, now = names(keys[1], args[1]), now_ms()
  local level, stream = args[2], k.q .. args[2]
  local rows = redis.call('XRANGE', stream, args[3], args[4], 'COUNT', args[5])
  if #rows == 0 then return { '' } end
  local first, last = rows[1][1], rows[#rows][1]
  local group = groups_of(stream)[k.group]
  local read_to = group and group['last-delivered-id'] or '0-0'
  local held = {}
  if group and group.pending > 0 then
    for _, pending in ipairs(redis.call('XPENDING', stream, k.group, first, last, #rows)) do held[pending[1]] = pending end
  end
  local out = { last }
  for _, row in ipairs(rows) do
    local entry, fields, token = row[1], row[2], level .. '/' .. row[1]
    local id, deadline = id_of(fields), tonumber(field(fields, 'x') or '')
    local waits, is_held = is_before(read_to, entry), held[entry]
    local is_over = redis.call('ZSCORE', k.unhandled, token) or redis.call('SISMEMBER', k.cancelled, token) == 1
      or (waits and deadline and deadline <= now)
    if is_held and not is_over then
      out[#out + 1] = held_row(k, id, level, entry, is_held, now, fields)
    elseif not is_over then
      out[#out + 1] = row_of(id, waits and 'queued' or 'acknowledged', {
        attempts = waits and 0 or 1, at = string.match(entry, '^%d+'), level = level, entry = entry,
        data = field(fields, 'd'), requeued = generation(fields),
      })
    end
  end
  return out
end
