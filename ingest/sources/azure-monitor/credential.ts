/** Which identity asks, and in which of Microsoft's clouds. */
import { readFileSync } from 'node:fs'
import type { TokenCredential } from '@azure/identity'
import { z } from 'zod'
import { messageOf, PermanentError, UsageError } from '../../../runtime/errors.ts'
import { resolveSecret, secretRef } from '../../../runtime/secrets.ts'

declare global {
  // The types of @azure/identity name a type of browsers; Node has the same under another name.
  type JsonWebKey = import('node:crypto').JsonWebKey
}

const id = z.string().min(1)

export const credentialConfig = z
  .discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('default') }).describe('what the machine offers: environment, workload identity, managed identity, the Azure command line'),
    z.strictObject({ kind: z.literal('managed-identity'), client_id: id.optional().describe('of a user-assigned identity') }),
    z.strictObject({ kind: z.literal('workload-identity'), tenant_id: id.optional(), client_id: id.optional() }),
    z.strictObject({ kind: z.literal('client-secret'), tenant_id: id, client_id: id, client_secret: secretRef }),
    z.strictObject({ kind: z.literal('client-certificate'), tenant_id: id, client_id: id, certificate_path: id.describe('PEM file with certificate and private key') }),
    z.strictObject({ kind: z.literal('token'), token: secretRef }).describe('a fixed token, for a stand-in only: needs `allow_insecure`'),
  ])
  .prefault({ kind: 'default' })
  .describe('the identity that asks')
export type CredentialConfig = z.infer<typeof credentialConfig>

/** Endpoint, audience and authority of each cloud; from the constants of the two client libraries and of @azure/identity. */
export const clouds = {
  public: { endpoint: 'https://api.loganalytics.io', audience: 'https://api.loganalytics.io', authority: 'https://login.microsoftonline.com' },
  'us-government': { endpoint: 'https://api.loganalytics.us', audience: 'https://api.loganalytics.us', authority: 'https://login.microsoftonline.us' },
  china: { endpoint: 'https://api.loganalytics.azure.cn', audience: 'https://api.loganalytics.azure.cn', authority: 'https://login.chinacloudapi.cn' },
} as const
export type CloudName = keyof typeof clouds
export const cloudNames = ['public', 'us-government', 'china'] as const satisfies readonly CloudName[]

export async function openCredential(config: CredentialConfig, authorityHost: string): Promise<TokenCredential> {
  if (config.kind === 'token') {
    const token = resolveSecret(config.token)
    return { getToken: () => Promise.resolve({ token, expiresOnTimestamp: Number.MAX_SAFE_INTEGER }) }
  }
  const identity = await import('@azure/identity')
  // The collector's loop tries again, with its own patience.
  const options = { authorityHost, retryOptions: { maxRetries: 0 } }
  try {
    return made(config, identity, options)
  } catch (error) {
    if (error instanceof UsageError) throw error
    // The constructors look at the environment and at the form of ids.
    throw new UsageError(`sources: azure-monitor: credential ${config.kind}: ${messageOf(error)}`)
  }
}

function made(
  config: Exclude<CredentialConfig, { kind: 'token' }>,
  identity: typeof import('@azure/identity'),
  options: { authorityHost: string; retryOptions: { maxRetries: number } },
): TokenCredential {
  switch (config.kind) {
    case 'managed-identity':
      return new identity.ManagedIdentityCredential(named('clientId', config.client_id))
    case 'workload-identity':
      return new identity.WorkloadIdentityCredential({ ...options, ...named('tenantId', config.tenant_id), ...named('clientId', config.client_id) })
    case 'client-secret':
      return renewing(
        () => resolveSecret(config.client_secret),
        (secret) => new identity.ClientSecretCredential(config.tenant_id, config.client_id, secret, options),
      )
    case 'client-certificate':
      return renewing(
        () => readCertificate(config.certificate_path),
        (certificate) => new identity.ClientCertificateCredential(config.tenant_id, config.client_id, { certificate }, options),
      )
    default:
      return new identity.DefaultAzureCredential(options)
  }
}

/**
 * Secrets expire and are renewed in their file while we run. The library keeps what it got first for ever, so whoever renewed one
 * would have to restart us: it gets another credential as soon as the secret is another. Asked only when a token is needed.
 */
export function renewing(read: () => string, make: (secret: string) => TokenCredential): TokenCredential {
  let secret = read()
  let credential = make(secret)
  return {
    getToken: async (scopes, options) => {
      const now = readAgain(read)
      if (now !== secret) [secret, credential] = [now, make(now)]
      return credential.getToken(scopes, options)
    },
  }
}

/** At the start a file that is not there is a wrong config; later it is a trouble of one source that may pass. */
function readAgain(read: () => string): string {
  try {
    return read()
  } catch (error) {
    throw new PermanentError(`no token for the query service: ${messageOf(error)}`, { cause: error })
  }
}

function readCertificate(file: string): string {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`the certificate file ${file} cannot be read: ${messageOf(error)}`)
  }
  if (!text.includes('-----BEGIN CERTIFICATE-----') || !/-----BEGIN (?:\w+ )?PRIVATE KEY-----/.test(text))
    throw new UsageError(`the certificate file ${file} must be a PEM file with certificate and private key`)
  return text
}

const named = <K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> => (value === undefined ? {} : ({ [key]: value } as Record<K, string>))
