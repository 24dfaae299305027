// A client of an AI API in front of which Latchkey stands. It needs Node 18 and nothing else.
//
// It asks once whose key it has, and then sends requests. The server decides on every one of them anew: what the client learned when it
// authenticated is for its own use (to show it, or to keep data of tenants apart), and protects nothing.

/** An application that calls an AI API with an API key. */
export class AiApplication {
  #key;
  #verifyUrl;
  #apiUrl;

  /** The organization that owns the key, or null. */
  organization = null;
  /** The user who owns the key, or null. */
  userId = null;

  /**
   * @param {object} options
   * @param {string} options.key the API key
   * @param {string} options.verifyUrl `…/api/v1/api_keys/verify` of Latchkey, or of Kinde
   * @param {string} options.apiUrl the endpoint that answers, such as `https://api.example.com/ai/process`
   */
  constructor({ key, verifyUrl, apiUrl }) {
    this.#key = key;
    this.#verifyUrl = verifyUrl;
    this.#apiUrl = apiUrl;
  }

  /** Asks whose key this is. A key that is not good belongs to nobody, and {@link process} refuses it. */
  async authenticate() {
    const response = await fetch(this.#verifyUrl, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ api_key: this.#key }),
      signal: AbortSignal.timeout(10_000),
    });
    if (!response.ok) {
      throw new Error("API key verification failed");
    }
    const verified = await response.json();
    this.organization = (verified.is_valid && verified.org_code) || null;
    this.userId = (verified.is_valid && verified.user_id) || null;
  }

  /**
   * Has the AI API process a message, and says on whose behalf that was.
   *
   * @param {string} message what to process
   * @param {object} context what else the backend should know
   */
  async process(message, context = {}) {
    if (this.organization === null && this.userId === null) {
      throw new Error("AI application not authenticated");
    }
    const response = await fetch(this.#apiUrl, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${this.#key}` },
      body: JSON.stringify({ message, context }),
      signal: AbortSignal.timeout(60_000),
    });
    const answer = await response.json();
    if (!response.ok) {
      throw new Error(`${response.status}: ${answer.error}`);
    }
    return { response: answer, organization: this.organization, user_id: this.userId, context };
  }
}
