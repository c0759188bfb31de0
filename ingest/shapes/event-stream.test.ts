import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { looksLikeEventStream, readEventStream } from './event-stream.ts'

const data = (event: unknown): string => `data: ${JSON.stringify(event)}\n\n`
const chunk = (content: string) =>
  data({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1_700_000_000, model: 'gpt-4o', choices: [{ index: 0, delta: { content } }], usage: null })
const withUsage = data({
  id: 'chatcmpl-1',
  object: 'chat.completion.chunk',
  created: 1_700_000_000,
  model: 'gpt-4o',
  choices: [],
  usage: { prompt_tokens: 3, completion_tokens: 2 },
})

describe('event stream', () => {
  it('takes the usage of the terminal chunk', () =>
    expect(readEventStream(`${chunk('a')}${withUsage}data: [DONE]\n\n`)?.['usage']).toEqual({ prompt_tokens: 3, completion_tokens: 2 }))
  it('takes a usage that is not in the last event', () =>
    expect(readEventStream(`${chunk('a')}${withUsage}${chunk('b')}data: [DONE]\n\n`)?.['usage']).toEqual({ prompt_tokens: 3, completion_tokens: 2 }))
  it('has none where the client did not ask or the stream was cut', () => {
    expect(readEventStream(`${chunk('a')}data: [DONE]\n\n`)).toMatchObject({ id: 'chatcmpl-1', model: 'gpt-4o' })
    expect(readEventStream(`${chunk('a')}data: [DONE]\n\n`)?.['usage']).toBeUndefined()
    expect(readEventStream(`${chunk('a')}data: {"id":"chatcmpl-1","choi`)).toMatchObject({ id: 'chatcmpl-1' })
  })
  it('does not believe a usage that the model wrote', () => {
    const forged = chunk('\n\ndata: {"usage": {"prompt_tokens": 999}}\n\n"usage":{"prompt_tokens":999}')
    expect(readEventStream(`${forged}data: [DONE]\n\n`)?.['usage']).toBeUndefined()
  })
  it('reads events of the Responses API, CRLF and a failure', () => {
    const created = `event: response.created\r\ndata: ${JSON.stringify({ type: 'response.created', response: { id: 'resp_1', object: 'response', status: 'in_progress', model: 'gpt-5', usage: null } })}\r\n\r\n`
    const failed = `event: response.failed\r\ndata: ${JSON.stringify({ type: 'response.failed', response: { id: 'resp_1', object: 'response', status: 'failed', error: { code: 'server_error', message: 'x' }, usage: null } })}\r\n\r\n`
    expect(readEventStream(created + failed)).toMatchObject({ id: 'resp_1', model: 'gpt-5', status: 'failed', error: { code: 'server_error' } })
  })
  it('ends as an error where the Responses API breaks off, without its text', () => {
    const created = data({ type: 'response.created', response: { id: 'resp_1', object: 'response', status: 'in_progress', model: 'gpt-5', usage: null } })
    const broken = readEventStream(
      `${created}event: error\n${data({ type: 'error', code: 'rate_limit_exceeded', message: 'a very secret prompt', param: null, sequence_number: 3 })}`,
    )
    expect(broken).toMatchObject({ id: 'resp_1', error: { code: 'rate_limit_exceeded' } })
    expect(JSON.stringify(broken)).not.toContain('secret')
  })
  it("passes over Azure's empty first chunk", () =>
    expect(readEventStream(`${data({ choices: [], created: 0, id: '', model: '', object: '' })}${chunk('a')}`)).toMatchObject({ id: 'chatcmpl-1', created: 1_700_000_000 }))
  it('keeps no text of the answer', () => expect(JSON.stringify(readEventStream(`${chunk('a very secret answer')}${withUsage}`))).not.toContain('secret'))
  it('is total', () => {
    fc.assert(fc.property(fc.string(), (text) => void readEventStream(`data: ${text}`)))
    fc.assert(
      fc.property(fc.array(fc.constantFrom('data:', '\n', '{"usage":{', '"usage"', ':', '{', '}', '[DONE]', 'event: x', '\r')), (parts) => void readEventStream(parts.join(''))),
    )
    expect(looksLikeEventStream('hello data:')).toBe(false)
  })
  it('stays fast on a hostile text', () => {
    const hostile = 'data: '.repeat(200_000) + '"usage" : '.repeat(100_000)
    const begun = process.cpuUsage()
    readEventStream(hostile)
    expect(process.cpuUsage(begun).user / 1000).toBeLessThan(1000)
  })
})
