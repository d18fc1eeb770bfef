/**
 * What a hub says to a device that may not take part any more. Hub and device share the words: a device that reads them in a refusal which its hub has signed gives up what it holds of
 * others' data. A token that was revoked says nothing of the device.
 */
export const deviceRevokedWords = (device: string): string => `${device} was revoked; its events stay on the device`;
export const siteRevokedWords = (site: string): string => `the site ${site} was revoked`;

/** Whether a refusal's words say that this device, or its whole site, was revoked. */
export const saysRevoked = (
  message: string,
  { org, site, device }: { readonly org: string; readonly site: string; readonly device: string },
): boolean => message === deviceRevokedWords(`${org}.${site}.${device}`) || message === siteRevokedWords(`${org}.${site}`);
