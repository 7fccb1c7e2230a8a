-- Shared by all functions. One call serves one inbox: KEYS[1] is its `meta` key, every other key of the
-- inbox has the same prefix and hash tag. A reader's group is "main"; other groups keep their own state
-- under names with "@group" behind.
--
--   q:1 .. q:5    a stream per level; fields: i = message id, d = data, x = deadline in ms where there is one,
--                 g = how often it was requeued from the dead letters, where it was
--   due           zset by time in ms: "s<id>" a scheduled message, "r<token>" a retry
--   sched         hash id -> "level:deadline:data" of scheduled messages
--   ready         zset of tokens that may be handed out again, highest level first
--   suspect       zset of tokens whose consumer died while they ran; handed out alone
--   fetched       set of tokens that were handed over and not started; what is in neither has started, so that
--                 the common case, everything starts at once, writes nothing
--   alone         set of tokens that run alone
--   fate          hash token -> "attempts,failures,crashes" of earlier handings-over, where there were any
--   lease         zset consumer -> end of its lease in ms
--   consumers     hash consumer -> "epoch,lease" ; a new registration is a new epoch. With ",ms" behind it, it is left
--                 alone until then though its lease is over. "!consumer" -> its last poll that it may have given up
--   dlq           stream of dead letters
--   id:<id>       digits "<ms><4 digits seq><level>" of its entry, with a minus of the last one of its batch (see
--                 find.lua), "s" scheduled, "d<entry>" dead, "c" cancelled, "a<attempts>" acknowledged after more than
--                 one, "o<attempts>:<outcome>" acknowledged with that
--   bell          stream of one entry, added to when idle readers should look again
--   done          stream, one entry per batch of acks: the ids whose dedup window begins then
--   cancelled     set of tokens that were cancelled, or expired, before they were handed out
--   unhandled     zset by time in ms: tokens that were given up or cancelled, which is no history
--   ttl, gone     see sweep.lua and losses.lua
--   answers       see temporary.lua
--   pool          see pool.lua
--
-- A token is "<level>/<entry>". What waits in `due`, `ready` or `suspect` stays in the stream and in the
-- group's pending list, owned by the pseudo-consumer "~": the payload is never copied.

local DEDUP = 3600000
local OUTCOME_KEPT = 86400000
local DEAD_KEPT = 30 * 86400000
local HISTORY = 86400000
local CHUNK = 1000
-- How often ids are swept and streams are trimmed, in ms, and how many batches of ids a sweep takes.
local SWEEP_EVERY = 100
local SWEEP = 200
local TRIM_EVERY = 60000

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The first millisecond at which all of *delay* is over: `now` is the one that has begun.
local function after(now, delay)
  return now + delay + 1
end

local function names(meta, group)
  local base = string.sub(meta, 1, -5)
  local suffix = group == 'main' and '' or '@' .. group
  return {
    base = base, group = group, meta = meta, q = base .. 'q:', id = base .. 'id:', sched = base .. 'sched',
    schedule = base .. 'due', dlq = base .. 'dlq', cancelled = base .. 'cancelled', bell = base .. 'bell', done = base .. 'done',
    unhandled = base .. 'unhandled', ttl = base .. 'ttl', gone = base .. 'gone', taken = 'r' .. suffix,
    due = base .. 'due' .. suffix, ready = base .. 'ready' .. suffix, suspect = base .. 'suspect' .. suffix,
    fetched = base .. 'fetched' .. suffix, alone = base .. 'alone' .. suffix, fate = base .. 'fate' .. suffix, lease = base .. 'lease' .. suffix,
    consumers = base .. 'consumers' .. suffix, pool = base .. 'pool' .. suffix,
  }
end

local function split(token)
  local level, entry = string.match(token, '^(%d)/(.+)$')
  return level, entry
end

-- By the length of what they stand before.
local ZEROS = { '000', '00', '0', '' }

-- Redis keeps a string of digits as an integer, which saves a third of the key's memory.
local function place(entry, level)
  local dash = string.find(entry, '-', 1, true)
  local zeros = ZEROS[#entry - dash]
  if not zeros then return entry .. '/' .. level end
  return string.sub(entry, 1, dash - 1) .. zeros .. string.sub(entry, dash + 1) .. level
end

local function placed(value)
  local entry, level = string.match(value, '^(%d+%-%d+)/(%d)$')
  if entry then return entry, level end
  local ms, seq, last = string.match(value, '^(%d+)(%d%d%d%d)(%d)$')
  return ms .. '-' .. tonumber(seq), last
end

local function field(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

local NOT_OF_IDS = '[^%w_.:-]'

-- Another program may write anything: what can be no id of a message would break tokens and answers.
local function id_of(fields)
  local id = field(fields, 'i')
  return id and #id <= 64 and not string.find(id, NOT_OF_IDS) and id or ''
end

-- How often a message was requeued. It goes with the entry, so that it outlives the next death too.
local function generation(fields)
  return string.match(field(fields, 'g') or '', '^%d%d?%d?%d?%d?%d?$') or '0'
end

local function pairs_of(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

-- Highest level first, and within a level the oldest entry first.
local function rank(token)
  local level, ms = string.match(token, '^(%d)/(%d+)')
  return string.format('%.0f', (5 - level) * 1e13 + ms)
end

local function fate_of(k, token)
  local kept = redis.call('HGET', k.fate, token)
  if not kept then return 0, 0, 0 end
  local attempts, failures, crashes = string.match(kept, '^(%d+),(%d+),(%d+)$')
  return tonumber(attempts), tonumber(failures), tonumber(crashes)
end

local function add_fate(k, token, attempts, failures, crashes)
  local a, f, c = fate_of(k, token)
  redis.call('HSET', k.fate, token, (a + attempts) .. ',' .. (f + failures) .. ',' .. (c + crashes))
end

local function forget_marks(k, token)
  redis.call('SREM', k.fetched, token)
  redis.call('SREM', k.alone, token)
end

-- Replays and histories leave it out.
local function mark_unhandled(k, level, entry)
  redis.call('ZADD', k.unhandled, string.match(entry, '^%d+'), level .. '/' .. entry)
end

local function give_to(k, token, consumer)
  local level, entry = split(token)
  return redis.call('XCLAIM', k.q .. level, k.group, consumer, 0, entry, 'JUSTID')
end

-- Wakes readers that sleep on the streams: something may be handed out that is not a new entry.
local function ring(k)
  redis.call('XADD', k.bell, 'MAXLEN', 1, '*', 'b', '')
end

-- Adds to a zset by time, and wakes readers when that is sooner than all they knew of.
local function add_due(k, zset, at, member)
  local soonest = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2]
  redis.call('ZADD', zset, at, member)
  if not soonest or at < tonumber(soonest) then ring(k) end
end

local function groups_of(stream)
  local found = redis.pcall('XINFO', 'GROUPS', stream)
  if found.err then return {} end
  local groups = {}
  for _, flat in ipairs(found) do
    local group = pairs_of(flat)
    groups[group.name] = group
  end
  return groups
end

-- How many entries the group has not been handed. The server's own count is lost after somebody's XDEL, and on
-- Redis 7.0 wrong for good. With *most*, counting may end there.
local function unread(stream, group, most)
  if not group then return redis.call('XLEN', stream) end
  if group.lag and pairs_of(redis.call('XINFO', 'STREAM', stream))['max-deleted-entry-id'] == '0-0' then
    return group.lag
  end
  local count, last = 0, group['last-delivered-id']
  repeat
    local rows = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', CHUNK)
    count = count + #rows
    last = #rows > 0 and rows[#rows][1]
  until #rows < CHUNK or count >= (most or math.huge)
  return count
end

-- The fields of an entry that has a deadline, behind those that every entry has.
local function until_then(deadline)
  return deadline and { 'x', deadline } or {}
end

local function add_entry(k, level, id, data, deadline)
  local entry = redis.call('XADD', k.q .. level, '*', 'i', id, 'd', data, unpack(until_then(deadline)))
  redis.call('SET', k.id .. id, place(entry, level))
end

-- What is known about earlier attempts goes with the ack, except for their number.
local function close_fate(k, token, id)
  local attempts = fate_of(k, token)
  redis.call('HDEL', k.fate, token)
  if attempts > 0 and id ~= '' then redis.call('SET', k.id .. id, 'a' .. (attempts + 1)) end
end

-- The dedup window of settled ids, with a space between. A key with a time to live each would cost more than the rest
-- of an ack.
local function settle_ids(k, ids)
  if string.find(ids, '%S') then redis.call('XADD', k.done, '*', 'i', ids) end
end

-- Forgets ids whose window is over.
local function sweep_ids(k, now)
  redis.call('HSET', k.meta, 'swept', now)
  local last = string.format('%.0f', now - DEDUP)
  local rows = redis.call('XRANGE', k.done, '-', last, 'COUNT', SWEEP)
  if #rows == 0 then return end
  for _, row in ipairs(rows) do
    for id in string.gmatch(row[2][2], '%S+') do redis.call('UNLINK', k.id .. id) end
  end
  redis.call('XTRIM', k.done, 'MINID', (string.gsub(rows[#rows][1], '%d+$', function(seq) return seq + 1 end)))
end

-- Ack first: it works without memory, so that consumers can drain a full server.
local function bury(k, level, entry, fields, reason, now)
  local token = level .. '/' .. entry
  local attempts, failures, crashes = fate_of(k, token)
  redis.call('XACK', k.q .. level, k.group, entry)
  forget_marks(k, token)
  mark_unhandled(k, level, entry)
  redis.call('HDEL', k.fate, token)
  local id = id_of(fields)
  local data = field(fields, 'd')
  if not data then
    -- Not written by hivebus: keep what was there, readable.
    local parts = {}
    for i = 1, #fields, 2 do parts[#parts + 1] = fields[i] .. '=' .. fields[i + 1] end
    data = table.concat(parts, ' ')
  end
  local dead = redis.call('XADD', k.dlq, '*', 'i', id, 'd', data, 'r', reason,
    'a', attempts, 'f', failures, 'c', crashes, 'l', level, 'e', entry, 'g', generation(fields))
  if id ~= '' then
    redis.call('SET', k.id .. id, 'd' .. dead, 'PX', DEAD_KEPT)
  end
end
