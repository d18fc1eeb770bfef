import { defineConfig } from "@tributary-sync/hub";

// `npx tributary config check` shows every setting, and where it comes from. Passwords belong in the environment.
export default defineConfig({
  org: "relief",
  data: ".tributary/hub",
  schemas: "schemas",
  projections: "projections",
  listen: "127.0.0.1:8080",
});
