export const greeting: string = "hello from the project";
