export const greeting = "hello from the project";
