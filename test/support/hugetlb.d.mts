/** Mounts what is missing, and gives what takes it away again; null where there is nothing to be done. */
export function mountHugetlb(): (() => Promise<void>) | null
