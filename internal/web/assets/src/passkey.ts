// Passkeys: a part marked data-passkey="sign-in" signs in with one,
// data-passkey="new" adds one. Such a part is hidden until it is known that the
// browser can do it.
type Options = { challenge: string; [name: string]: unknown };

function bytes(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  const out = new Uint8Array(plain.length);
  for (let i = 0; i < plain.length; i++) out[i] = plain.charCodeAt(i);
  return out;
}

function text(data: ArrayBuffer | null): string | undefined {
  if (!data) return undefined;
  let plain = "";
  for (const b of new Uint8Array(data)) plain += String.fromCharCode(b);
  return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

// post sends JSON and gives the answer; the portal's own words are the error.
async function post(url: string, body: unknown): Promise<Record<string, unknown>> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify(body),
  });
  const data = (await answer.json().catch(() => ({}))) as Record<string, unknown>;
  if (!answer.ok) throw new Error([data.what ?? "The portal did not answer as it should", data.why, data.remedy].filter(Boolean).join(". "));
  return data;
}

type Descriptor = { id: string; type: "public-key"; transports?: AuthenticatorTransport[] };

function described(list: unknown): PublicKeyCredentialDescriptor[] {
  return ((list ?? []) as Descriptor[]).map((d) => ({ ...d, id: bytes(d.id) }));
}

async function signIn(next: string): Promise<string> {
  const { options } = (await post("/auth/passkey/options", {})) as { options: Options };
  const publicKey = { ...options, challenge: bytes(options.challenge), allowCredentials: described(options.allowCredentials) };
  const got = (await navigator.credentials.get({ publicKey })) as PublicKeyCredential;
  const response = got.response as AuthenticatorAssertionResponse;
  const done = await post("/auth/passkey/finish", {
    next,
    answer: {
      id: got.id,
      rawId: text(got.rawId),
      type: got.type,
      clientExtensionResults: {},
      response: {
        clientDataJSON: text(response.clientDataJSON),
        authenticatorData: text(response.authenticatorData),
        signature: text(response.signature),
        userHandle: text(response.userHandle),
      },
    },
  });
  return String(done.next);
}

async function add(name: string): Promise<void> {
  const { options } = (await post("/auth/passkeys/options", {})) as { options: Options };
  const user = options.user as { id: string; name: string; displayName: string };
  const publicKey = {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...user, id: bytes(user.id) },
    excludeCredentials: described(options.excludeCredentials),
  } as unknown as PublicKeyCredentialCreationOptions;
  const made = (await navigator.credentials.create({ publicKey })) as PublicKeyCredential;
  const response = made.response as AuthenticatorAttestationResponse;
  await post("/auth/passkeys", {
    name,
    answer: {
      id: made.id,
      rawId: text(made.rawId),
      type: made.type,
      clientExtensionResults: {},
      response: {
        clientDataJSON: text(response.clientDataJSON),
        attestationObject: text(response.attestationObject),
        transports: response.getTransports?.() ?? [],
      },
    },
  });
}

// words says what went wrong; the browser's own reasons are for programmers.
function words(e: unknown): string {
  const name = e instanceof DOMException ? e.name : "";
  if (name === "NotAllowedError" || name === "AbortError") return "Nothing was chosen, or it took too long. Try again.";
  if (name === "InvalidStateError") return "This device has a passkey for your account already.";
  if (name) return "This browser or device can't do that. Sign in another way.";
  return e instanceof Error ? e.message : "That did not work. Try again.";
}

function show(part: HTMLElement, problem: string): void {
  const at = part.querySelector<HTMLElement>("[data-passkey-problem]");
  if (!at) return;
  at.textContent = problem;
  at.hidden = problem === "";
}

async function start(part: HTMLElement, button: HTMLButtonElement): Promise<void> {
  button.disabled = true;
  show(part, "");
  try {
    if (part.dataset.passkey === "new") {
      await add(part.querySelector<HTMLInputElement>("input[name=passkey-name]")?.value ?? "");
      location.reload();
    } else {
      location.assign(await signIn(part.dataset.next ?? "/"));
    }
  } catch (e) {
    show(part, words(e));
    button.focus();
  } finally {
    button.disabled = false;
  }
}

function reveal(): void {
  if (!("PublicKeyCredential" in window)) return;
  for (const part of document.querySelectorAll<HTMLElement>("[data-passkey]")) part.hidden = false;
}

document.addEventListener("click", (e) => {
  const button = e.target instanceof Element ? e.target.closest<HTMLButtonElement>("[data-passkey-start]") : null;
  const part = button?.closest<HTMLElement>("[data-passkey]");
  if (button && part) void start(part, button);
});
document.addEventListener("htmx:after:swap", reveal);
reveal();
