-- settle: KEYS = meta, then the meta keys of inboxes that replies go to, behind that of a temporary one that of its
-- agent, and the index of inboxes last.
-- ARGV = group, consumer, epoch, lease, then operations:
--   A level count entry... ids            acknowledged; the ids in one word with a space between, in the same order
--   a level entry id                      acknowledged, not held by the caller's process: the answer tells whether it was
--   P level entry id outcome key level id data ttl  acknowledged together with what its handler returned, and with
--                                         a reply into the inbox of KEYS[key]; either may be missing: "", and 0 as key
--   R level entry delay counts            again after delay ms
--   D level entry reason                  dead letter
--   S level entry                         started
--   E level entry                         lease renewed
-- Returns one letter per operation: d done, s stale, g gone. A lost epoch makes all stale.

local function holds(k, level, entry, consumer)
  local row = redis.call('XPENDING', k.q .. level, k.group, entry, entry, 1)[1]
  if not row then return 'g' end
  return row[2] == consumer and 'd' or 's'
end

local function done_with(k, level, entry, id)
  local token = level .. '/' .. entry
  forget_marks(k, token)
  close_fate(k, token, id)
  settle_ids(k, id)
end

local function forget_many(k, level, args, first, count, has)
  local tokens = {}
  for i = 0, count - 1 do tokens[i + 1] = level .. '/' .. args[first + i] end
  if has.fetched then redis.call('SREM', k.fetched, unpack(tokens)) end
  if has.alone then redis.call('SREM', k.alone, unpack(tokens)) end
  if has.fate then
    local nth = 0
    for id in string.gmatch(args[first + count] .. ' ', '(%S*) ') do
      nth = nth + 1
      close_fate(k, tokens[nth], id)
    end
  end
end

-- The ids stay one word: they are read when their window is over.
local function ack_many(k, args, at, has)
  local level, count = args[at + 1], tonumber(args[at + 2])
  local first = at + 3
  local ids = first + count
  redis.call('XACK', k.q .. level, k.group, unpack(args, first, ids - 1))
  settle_ids(k, args[ids])
  if has.fetched or has.alone or has.fate then forget_many(k, level, args, first, count, has) end
  return ids + 1, string.rep('d', count)
end

local function retry(k, level, entry, consumer, delay, counts, now)
  local verdict = holds(k, level, entry, consumer)
  if verdict ~= 'd' then return verdict end
  local token = level .. '/' .. entry
  give_to(k, token, '~')
  forget_marks(k, token)
  add_fate(k, token, 1, counts == '1' and 1 or 0, 0)
  if delay > 0 then
    add_due(k, k.due, after(now, delay), 'r' .. token)
  else
    redis.call('ZADD', k.ready, rank(token), token)
    ring(k)
  end
  return 'd'
end

local function dead_letter(k, level, entry, consumer, reason, now)
  local verdict = holds(k, level, entry, consumer)
  if verdict ~= 'd' then return verdict end
  add_fate(k, level .. '/' .. entry, 1, 0, 0)
  local row = redis.call('XRANGE', k.q .. level, entry, entry)[1]
  bury(k, level, entry, row and row[2] or {}, reason, now)
  return 'd'
end

local function reply(keys, args, at, now)
  local r = replied_to(keys, tonumber(args[at + 1]))
  local level, id, data, ttl = args[at + 2], args[at + 3], args[at + 4], args[at + 5]
  if redis.call('EXISTS', r.id .. id) == 0 then
    if redis.call('HINCRBY', r.meta, 'n', 1) == 1 then
      redis.call('SADD', keys[#keys], string.match(r.meta, '{(.*)}'))
    end
    redis.call('HINCRBY', r.meta, 'b', #data)
    add_entry(r, level, id, data, ttl ~= '' and now + ttl)
  end
end

-- The dedup window of a message with an outcome is as long as that is kept.
local function keep_outcome(k, token, id, outcome)
  local attempts = fate_of(k, token)
  forget_marks(k, token)
  redis.call('HDEL', k.fate, token)
  redis.call('SET', k.id .. id, 'o' .. (attempts + 1) .. ':' .. outcome, 'PX', OUTCOME_KEPT)
end

-- Carries out a `P`.
local function conclude(k, keys, args, at, now)
  local level, entry, id, outcome = args[at + 1], args[at + 2], args[at + 3], args[at + 4]
  local token = level .. '/' .. entry
  if args[at + 5] ~= '0' then reply(keys, args, at + 4, now) end
  redis.call('XACK', k.q .. level, k.group, entry)
  if outcome == '' or id == '' then
    done_with(k, level, entry, id)
  else
    -- Somebody may wait to have it again.
    redis.call('ZREM', k.ready, token)
    redis.call('ZREM', k.suspect, token)
    redis.call('ZREM', k.due, 'r' .. token)
    keep_outcome(k, token, id, outcome)
  end
  return 'd'
end

-- conclude: KEYS as for settle. ARGV = group, then one `P`: its work is done, whoever has lost what lease.
-- Returns d, or g when it was settled before.
local function conclude_one(keys, args)
  local k = names(keys[1], args[1])
  if not redis.call('XPENDING', k.q .. args[3], k.group, args[4], args[4], 1)[1] then return 'g' end
  return conclude(k, keys, args, 2, now_ms())
end

local function settle(keys, args)
  local k = names(keys[1], args[1])
  local consumer, epoch, lease = args[2], args[3], tonumber(args[4])
  local kept = redis.call('HGET', k.consumers, consumer)
  if not kept or string.match(kept, '^%d+') ~= epoch then return 'stale' end
  note_life(k, consumer, kept)
  local now = now_ms()
  redis.call('ZADD', k.lease, 'GT', now + lease, consumer)
  local has = {
    fetched = redis.call('EXISTS', k.fetched) == 1,
    alone = redis.call('EXISTS', k.alone) == 1,
    fate = redis.call('EXISTS', k.fate) == 1,
  }
  local results, marks, at = {}, {}, 5
  while at <= #args do
    local op, level, entry = args[at], args[at + 1], args[at + 2]
    local answer = 'd'
    if op == 'A' then
      at, answer = ack_many(k, args, at, has)
    elseif op == 'S' then
      marks[#marks + 1] = level .. '/' .. entry
      at = at + 3
    elseif op == 'a' then
      answer = holds(k, level, entry, consumer)
      if answer == 'd' then
        redis.call('XACK', k.q .. level, k.group, entry)
        done_with(k, level, entry, args[at + 3])
      end
      at = at + 4
    elseif op == 'R' then
      answer = retry(k, level, entry, consumer, tonumber(args[at + 3]), args[at + 4], now)
      at = at + 5
    elseif op == 'D' then
      answer = dead_letter(k, level, entry, consumer, args[at + 3], now)
      at = at + 4
    elseif op == 'P' then
      answer = holds(k, level, entry, consumer)
      -- Its work is done, and shall not be done again by whoever has it by now.
      if answer == 'd' or (answer == 's' and args[at + 4] ~= '') then
        answer = conclude(k, keys, args, at, now)
      end
      at = at + 10
    else
      answer = holds(k, level, entry, consumer)
      at = at + 3
    end
    results[#results + 1] = answer
  end
  if #marks > 0 then redis.call('SREM', k.fetched, unpack(marks)) end
  return table.concat(results)
end
