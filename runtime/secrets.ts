/** Secrets in a config are references, resolved after parsing and never printed. */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import { messageOf, UsageError } from './errors.ts'

/** `{env: NAME}` or `{file: PATH}`; a bare string is refused so that no secret lands in a repository. */
export const secretRef = z.union([z.strictObject({ env: z.string().min(1) }), z.strictObject({ file: z.string().min(1) })]).describe('a secret: {env: NAME} or {file: PATH}')
export type SecretRef = z.infer<typeof secretRef>

/** Throws UsageError that names the variable or file; never the value. */
export function resolveSecret(ref: SecretRef, env: Readonly<Record<string, string | undefined>> = process.env): string {
  if ('env' in ref) {
    const value = env[ref.env]
    if (value === undefined || value === '') throw new UsageError(`the environment variable ${ref.env} is not set, but the config reads a secret from it`)
    return value
  }
  try {
    return readFileSync(ref.file, 'utf8').trim()
  } catch (error) {
    throw new UsageError(`the secret file ${ref.file} cannot be read: ${messageOf(error)}`)
  }
}
