// What docs/frontend.md and docs/protocol.md leave to the front end.
export const api: string;
export const gateway: string;
export function freshToken(): Promise<string>;
export function signIn(): void;
