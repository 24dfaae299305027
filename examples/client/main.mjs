// One message: API_KEY=lk_… node examples/client/main.mjs VERIFY_URL API_URL [MESSAGE]
import { AiApplication } from "./client.mjs";

const [verifyUrl, apiUrl, message = "Hello"] = process.argv.slice(2);
const application = new AiApplication({ key: process.env.API_KEY, verifyUrl, apiUrl });
try {
  await application.authenticate();
  console.log(JSON.stringify(await application.process(message, { channel: "example" }), null, 2));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
