// The few globals that every JavaScript platform has and that the es2024 library does not declare.
// Core has neither Node nor DOM types: what is not here enters through a port.
declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>;
}
declare class TextDecoder {
  constructor(label: "utf-8", options: { readonly fatal: true; readonly ignoreBOM: true });
  decode(bytes: Uint8Array): string;
}
// Opaque to the core: the HPKE library's types name it.
interface CryptoKey {
  readonly extractable: boolean;
}
