import type { Command } from 'commander'
import { fingerprint, hashKey } from '../ingest/fingerprint.ts'
import { UsageError } from '../runtime/errors.ts'
import { loadReadingContext } from './context.ts'
import { command, type GlobalOptions, print } from './program.ts'

export const fingerprintCommand = (): Command =>
  command('fingerprint', 'a key on stdin gives the id that stands for it everywhere; the key itself is never stored').action(async (options: GlobalOptions) => {
    const { config, data_dir } = loadReadingContext(options)
    const key = (await readStdin()).trim()
    if (key === '') throw new UsageError('no key on stdin; use for example: printf %s "$OPENAI_API_KEY" | npx tokenwatch fingerprint')
    const id = fingerprint(key, hashKey(config.privacy, data_dir))
    print(options, { api_key_id: id }, () => id)
  })

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk as Uint8Array))
  return Buffer.concat(chunks).toString('utf8')
}
