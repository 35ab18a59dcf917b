module.exports = "hello from the project";
