/** The id that stands for an API key everywhere: a keyed hash, so that a stolen table does not tell which leaked key it is. */
import { createHmac, hash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { messageOf, UsageError } from '../runtime/errors.ts'
import { resolveSecret, type SecretRef } from '../runtime/secrets.ts'
import { createRecent } from './recent.ts'

const MIN_KEY_LENGTH = 16

/** `fp_` and 32 hex digits (128 bit) of HMAC-SHA256. Takes what an Authorization header holds, too: "Bearer " and blanks are cut. */
export const fingerprint = (api_key: string, hash_key: string): string => `fp_${keyed(hash_key, `api-key ${api_key.trim().replace(/^bearer\s+/i, '')}`)}`

/** A pseudonym of a user id; destroying the hash key makes it unlinkable. */
export const pseudonym = (user_id: string, hash_key: string): string => `user_${keyed(hash_key, `user ${user_id}`)}`

/** Digest of hash key and text → result: an HMAC costs four times as much as the digest, and keys come again and again. Holds no key. */
const known = createRecent<string, string>(4096)

function keyed(hash_key: string, text: string): string {
  const digest = hash('sha256', `${hash_key.length}:${hash_key}${text}`, 'base64')
  const before = known.get(digest)
  if (before !== undefined) return before
  const result = createHmac('sha256', hash_key).update(text).digest('hex').slice(0, 32)
  known.set(digest, result)
  return result
}

/**
 * The configured key, else the one in `<data_dir>/hash.key` (made at the first call, mode 0600): the embedded default.
 * Throws UsageError for a key that cannot be read or is too short to be one.
 */
export function hashKey(privacy: { hash_key?: SecretRef | undefined }, data_dir: string): string {
  const key = privacy.hash_key === undefined ? storedKey(join(data_dir, 'hash.key')) : resolveSecret(privacy.hash_key)
  if (key.length < MIN_KEY_LENGTH) throw new UsageError(`privacy.hash_key has fewer than ${MIN_KEY_LENGTH} characters: make one with \`openssl rand -hex 32\``)
  return key
}

function storedKey(file: string): string {
  mkdirSync(dirname(file), { recursive: true })
  try {
    // `wx` is the lock: of two processes that start at once one makes the key, the other reads it.
    const fresh = randomBytes(32).toString('hex')
    writeFileSync(file, `${fresh}\n`, { mode: 0o600, flag: 'wx' })
    return fresh
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') throw new UsageError(`the hash key ${file} cannot be written: ${messageOf(error)}`)
  }
  return readFileSync(file, 'utf8').trim()
}
