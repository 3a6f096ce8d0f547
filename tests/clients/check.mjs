// Runs OpenAI's client for Node, unmodified, against a running service.
//
// Usage: node check.mjs http://127.0.0.1:PORT KEY
import assert from 'node:assert/strict'
import OpenAI from 'openai'

const [url, key] = process.argv.slice(2)
const texts = ['a red circle', 'three blue stars']
const answer = await fetch(`${url}/embed/text`, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` },
  body: JSON.stringify({ texts }),
})
const own = (await answer.json()).embeddings.map((row) => row.map(Math.fround))

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 })
for (const more of [{}, { encoding_format: 'float' }]) {
  const given = await client.embeddings.create({ model: 'x', input: texts, ...more })
  assert.deepEqual(given.data.map((entry) => Array.from(entry.embedding, Math.fround)), own)
}
await assert.rejects(
  client.embeddings.create({ model: 'x', input: 'a', dimensions: 2 }),
  (error) => error instanceof OpenAI.BadRequestError && /Matryoshka/.test(error.message),
)
const models = await client.models.list()
assert.equal(models.data.length, 1)
console.log('ok      openai for Node')
