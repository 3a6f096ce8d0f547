// Runs OpenAI's client for Node, LangChain's and the AI SDK, unmodified, against a running service.
//
// Usage: node check.mjs http://127.0.0.1:PORT KEY
import assert from 'node:assert/strict'
import { createOpenAI } from '@ai-sdk/openai'
import { OpenAIEmbeddings } from '@langchain/openai'
import { embedMany } from 'ai'
import OpenAI from 'openai'

const [url, apiKey] = process.argv.slice(2)
const baseURL = `${url}/v1`
const texts = ['a red circle', 'three blue stars']
const floats = (rows) => rows.map((row) => Array.from(row, Math.fround))
const answer = await fetch(`${url}/embed/text`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${apiKey}` },
  body: JSON.stringify({ texts }),
})
const own = floats((await answer.json()).embeddings)

const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 })
for (const more of [{}, { encoding_format: 'float' }]) {
  const given = await client.embeddings.create({ model: 'x', input: texts, ...more })
  assert.deepEqual(floats(given.data.map((entry) => entry.embedding)), own)
}
await assert.rejects(
  client.embeddings.create({ model: 'x', input: 'a', dimensions: 2 }),
  (error) => error instanceof OpenAI.BadRequestError && /Matryoshka/.test(error.message),
)
assert.equal((await client.models.list()).data.length, 1)
console.log('ok      openai for Node')

const langchain = new OpenAIEmbeddings({ model: 'x', apiKey, configuration: { baseURL } })
assert.deepEqual(floats(await langchain.embedDocuments(texts)), own)
console.log('ok      LangChain.js')

const model = createOpenAI({ baseURL, apiKey }).embedding('x')
assert.deepEqual(floats((await embedMany({ model, values: texts })).embeddings), own)
// It sends 2048 at once, OpenAI's limit.
const many = Array.from({ length: 2100 }, (_, at) => texts[at % 2])
const { embeddings } = await embedMany({ model, values: many, maxRetries: 0 })
assert.deepEqual(floats(embeddings), many.map((_, at) => own[at % 2]))
console.log('ok      AI SDK')
