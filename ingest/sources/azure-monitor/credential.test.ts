import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { PermanentError, UsageError } from '../../../runtime/errors.ts'
import { resolveSecret } from '../../../runtime/secrets.ts'
import { openCredential, renewing } from './credential.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'tokenwatch-credential-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
const TENANT = '11111111-2222-4333-8444-555555555555'

describe('a secret that is renewed while we run', () => {
  it('is taken as soon as a token is needed again, and made a credential once', async () => {
    const file = path.join(directory, 'secret')
    writeFileSync(file, 'the-old-one\n')
    const made: string[] = []
    const credential = renewing(
      () => resolveSecret({ file }),
      (secret) => {
        made.push(secret)
        // What an authority says of a secret that has expired.
        return {
          getToken: () =>
            secret === 'the-old-one'
              ? Promise.reject(Object.assign(new Error('AADSTS7000222'), { name: 'AuthenticationError' }))
              : Promise.resolve({ token: secret, expiresOnTimestamp: 1 }),
        }
      },
    )
    await expect(credential.getToken('scope')).rejects.toThrow('AADSTS7000222')
    await expect(credential.getToken('scope')).rejects.toThrow('AADSTS7000222')
    writeFileSync(file, 'the-new-one\n')
    expect(await credential.getToken('scope')).toMatchObject({ token: 'the-new-one' })
    expect(await credential.getToken('scope')).toMatchObject({ token: 'the-new-one' })
    expect(made).toEqual(['the-old-one', 'the-new-one'])
    rmSync(file)
    const error: unknown = await credential.getToken('scope').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(PermanentError)
    expect(String(error)).toContain(file)
  })

  it('is read at the start: a certificate that is not there, or is none, is a wrong config and names its file', async () => {
    const certificate_path = path.join(directory, 'tokenwatch.pem')
    const open = () => openCredential({ kind: 'client-certificate', tenant_id: TENANT, client_id: TENANT, certificate_path }, 'https://login.microsoftonline.com')
    await expect(open()).rejects.toThrow(UsageError)
    await expect(open()).rejects.toThrow(certificate_path)
    writeFileSync(certificate_path, '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n')
    await expect(open()).rejects.toThrow('private key')
    writeFileSync(certificate_path, '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n')
    expect(typeof (await open()).getToken).toBe('function')
  })
})
