-- Where the message of an id is. A place is written for each message and asked for by few. So what is stored together
-- is kept under the place of the last of it, with a minus before it, and who asks looks back from there.

-- The most messages that share a place, and how many of them are looked at in each step.
local TOGETHER = 500
local STEPS = { 1, 49, TOGETHER - 50 }
-- Longer than one call takes to store its messages, in ms.
local CALL = 1000

-- Puts a place behind each key that follows the *first* ones, *last* being the entry of the last of them.
local function put_places(fresh, first, last, level)
  local shared = place(last, level)
  if #fresh > first + 2 then shared = '-' .. shared end
  for i = first + 2, #fresh, 2 do fresh[i] = shared end
end

local function entry_facts(stream, entry)
  local row = redis.call('XRANGE', stream, entry, entry)[1]
  return row and row[2]
end

-- Returns the entry of *id* and its fields, looking back from the *last* of its batch. *met* keeps what was passed on the
-- way, of one batch in each stream: what is asked for in one call was often stored together.
local function look_back(stream, last, id, met)
  local batch = met[stream]
  if not batch or batch.last ~= last then
    batch = { last = last, from = last, steps = 0, rows = {} }
    met[stream] = batch
  end
  while not batch.rows[id] and batch.steps < #STEPS do
    batch.steps = batch.steps + 1
    local rows = redis.call('XREVRANGE', stream, batch.from, '-', 'COUNT', STEPS[batch.steps])
    for _, row in ipairs(rows) do
      local passed = field(row[2], 'i') or ''
      batch.rows[passed] = batch.rows[passed] or row
    end
    if #rows < STEPS[batch.steps] then batch.steps = #STEPS else batch.from = '(' .. rows[#rows][1] end
  end
  local row = batch.rows[id]
  if row then return row[1], row[2] end
end

-- Whether an entry of that batch is held that somebody has deleted. Whose it was, nothing tells.
local function holds_deleted(k, stream, last)
  local from = string.format('%.0f', string.match(last, '^%d+') - CALL)
  repeat
    local page = redis.pcall('XPENDING', stream, k.group, from, last, CHUNK)
    for _, pending in ipairs(page) do
      if not entry_facts(stream, pending[1]) then return true end
    end
    from = #page > 0 and '(' .. page[#page][1]
  until #page < CHUNK
  return false
end

-- Returns the level of what *value* tells of an id, its entry and the fields of it; or no entry, if it is not there any
-- more, and the last one of its batch. *met* is a table that all of one call share.
local function find(k, id, value, met)
  local shared, rest = string.match(value, '^(%-?)(.*)$')
  local last, level = placed(rest)
  if shared == '' then return level, last, entry_facts(k.q .. level, last) or {} end
  local entry, fields = look_back(k.q .. level, last, id, met)
  return level, entry, fields, last
end
